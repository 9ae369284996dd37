package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall/qstash"
)

// tlsFiles are a certificate and its key. They are read again when one of them
// has changed, as certificates are renewed while a server runs.
type tlsFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate // guarded by mu, as are the others
	version [2]time.Time     // when the files were changed that were tried last
	missing string           // why they could not be looked at, the last time
}

func (f *tlsFiles) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "file with the certificate chain; with it HTTPS is spoken, and nothing else")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "file with the key of the certificate")
}

func (f *tlsFiles) check() error {
	if (f.cert == "") != (f.key == "") {
		return usagef("TLS needs both --tls-cert and --tls-key")
	}
	return nil
}

func (f *tlsFiles) used() bool { return f.cert != "" }

// scheme is how clients connect.
func (f *tlsFiles) scheme() string {
	if f.used() {
		return "https"
	}
	return "http"
}

// config is nil without TLS. It reads the files once, so that a mistake shows at
// the start.
func (f *tlsFiles) config(log *slog.Logger) (*tls.Config, error) {
	f.log = log
	if !f.used() {
		return nil, nil
	}
	if _, err := f.certificate(nil); err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: f.certificate, MinVersion: tls.VersionTLS12}, nil
}

// listener is what web serves.
func (f *tlsFiles) listener(web *http.Server, l net.Listener) net.Listener {
	if f.used() {
		return qstash.TLSListener(web, l)
	}
	return qstash.Listener(web, l)
}

// certificate is for [tls.Config].GetCertificate. Files that cannot be read, as
// in the middle of a renewal, leave the certificate that there is.
func (f *tlsFiles) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := f.newest()
	switch {
	case cert == nil:
		return nil, fmt.Errorf("the certificate cannot be used: %w", err)
	case err != nil:
		f.log.Warn("the certificate has changed and cannot be used; the one before is kept", "error", err)
	}
	return cert, nil
}

// newest also returns why the files were not taken, once for each change.
func (f *tlsFiles) newest() (*tls.Certificate, error) {
	version, err := f.changed()
	text := fmt.Sprint(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && version != f.version:
		f.version, f.missing = version, ""
		err = f.load()
	case err != nil && f.loaded != nil && text == f.missing:
		return f.loaded, nil // that was told
	case err != nil:
		f.missing = text
	default:
		f.missing = "" // they are back as they were
	}
	return f.loaded, err
}

// load needs mu.
func (f *tlsFiles) load() error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err == nil {
		f.loaded = &pair
	}
	return err
}

func (f *tlsFiles) changed() (version [2]time.Time, err error) {
	for i, name := range []string{f.cert, f.key} {
		info, fault := os.Stat(name)
		if fault != nil {
			err = errors.Join(err, fault)
			continue
		}
		version[i] = info.ModTime()
	}
	return version, err
}
