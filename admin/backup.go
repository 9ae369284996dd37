package admin

import (
	"context"
	"io"
	"net/http"
)

// backupCalls have one that needs full access, although it changes nothing: a copy of
// the file has all that is redacted, and the signing keys.
var backupCalls = map[string]call{"backup": {false, serveBackup}}

// serveBackup answers with the copy, byte for byte. If it fails on the way the
// connection is cut, so that no part is taken for the whole.
func serveBackup(h *handler, w http.ResponseWriter, r *http.Request) error {
	if _, err := read[nothing](r); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &counted{w: patientWriter{w}}
	_, err := h.b.Backup(r.Context(), out)
	switch {
	case err == nil:
		return nil
	case out.n == 0:
		return err
	}
	h.o.Logger.ErrorContext(r.Context(), "admin: a backup has failed on the way", "bytes", out.n, "error", err)
	panic(http.ErrAbortHandler)
}

// counted knows whether anything was written.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Backup is [recall.Broker.Backup]. With an error, what w has is no copy. Check it
// with [recall.Check] before you rely on it.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, "backup", nothing{})
	if err != nil {
		return 0, plainError(ctx, err)
	}
	defer resp.Body.Close()
	return io.Copy(w, resp.Body)
}
