package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
)

//go:embed assets
var assetFiles embed.FS

var assetTypes = map[string]string{
	"app.css":  "text/css; charset=utf-8",
	"app.js":   "text/javascript; charset=utf-8",
	"icon.svg": "image/svg+xml",
}

// assetVersion is part of the addresses of assets, so that browsers may keep them
// for good.
var assetVersion = func() string {
	sum := sha256.New()
	for _, name := range []string{"app.css", "app.js", "icon.svg"} {
		sum.Write(asset(name))
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}()

// asset returns an embedded file; nil if there is none.
func asset(name string) []byte {
	text, err := fs.ReadFile(assetFiles, "assets/"+name)
	if err != nil {
		return nil
	}
	return text
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	kind, known := assetTypes[r.PathValue("name")]
	if !known {
		http.NotFound(w, r)
		return
	}
	if r.PathValue("version") == assetVersion {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(asset(r.PathValue("name"))) // the client may be gone
}
