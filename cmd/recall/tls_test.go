package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate writes a fresh certificate for the loopback and its key.
func writeCertificate(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}

// TestRenewal replaces a certificate: by a new one, by nonsense, by none.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	var log strings.Builder
	f := &tlsFiles{cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	changed := time.Now()
	touch := func() { // times of files are coarse
		changed = changed.Add(time.Minute)
		for _, name := range []string{f.cert, f.key} {
			if err := os.Chtimes(name, changed, changed); err != nil {
				t.Fatal(err)
			}
		}
	}
	serial := func() string {
		t.Helper()
		c, err := f.certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.String()
	}
	if _, err := f.config(slog.Default()); err == nil {
		t.Error("no file, and no error")
	}
	if err := writeCertificate(f.cert, f.key); err != nil {
		t.Fatal(err)
	}
	touch()
	if _, err := f.config(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	first := serial()
	if serial() != first {
		t.Error("another certificate without a change")
	}
	if err := writeCertificate(f.cert, f.key); err != nil {
		t.Fatal(err)
	}
	touch()
	second := serial()
	if second == first || log.Len() > 0 {
		t.Errorf("got %s again, log %s", first, &log)
	}
	if err := os.WriteFile(f.cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch()
	serial() // says it no second time
	if serial() != second || strings.Count(log.String(), "cannot be used") != 1 {
		t.Errorf("log: %s", &log)
	}
	if err := os.Remove(f.key); err != nil {
		t.Fatal(err)
	}
	said := log.Len()
	if serial() != second || log.Len() == said {
		t.Errorf("the certificate is gone, or nothing was said: %s", log.String()[said:])
	}
	said = log.Len()
	if serial() != second || log.Len() != said {
		t.Errorf("said again: %s", log.String()[said:])
	}
}
