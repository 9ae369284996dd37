package qstash

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/recallmq/recall"
)

// DefaultVerifierMaxBody is how large a delivery may be that a [Verifier] checks.
// Callbacks are larger than messages: they have a body in base64.
const DefaultVerifierMaxBody = 4 << 20

// VerifierOptions configure a [Verifier]. The zero value of a field means its
// default; nil options are all defaults.
type VerifierOptions struct {
	// ClockSkew is how far the clocks of sender and receiver may be apart: a
	// signature holds for so much longer. Default 0. Recall's signatures have no
	// beginning, so a receiver whose clock is behind needs none for them; those of hosted
	// QStash may have one.
	ClockSkew time.Duration
	// URL, if set, returns the URL that a request to Verifier.Handler was sent
	// to, as the publisher wrote it: usually a fixed part and r.RequestURI.
	// A signature for another URL, such as that of a neighbour with the same keys,
	// is refused, and so is every request for which it returns "". Default: any
	// URL will do.
	URL func(r *http.Request) string
	// MaxBody is the largest body that Verifier.Handler reads, in bytes. Default
	// DefaultVerifierMaxBody.
	MaxBody int64
	// Clock tells the time. Default package time.
	Clock recall.Clock
}

// Verifier tells deliveries of a queue from requests of others, by their
// signature, also those of hosted QStash. It is safe for concurrent use.
//
// What is signed is the URL, the body and the time; the other headers are not.
// A signature holds for five minutes, and within that a request that was
// overheard can be repeated: deliveries are at least once anyway.
type Verifier struct {
	keys   jwt.VerificationKeySet
	parser *jwt.Parser
	o      VerifierOptions
}

// What [Verifier.Verify] refuses.
var (
	ErrNotSigned = errors.New("qstash: the request is not signed")
	ErrSignature = errors.New("qstash: the signature does not hold")
)

// NewVerifier returns a Verifier for the signing keys of a queue. Either may
// have signed; next may be empty, but then deliveries after a rotation are
// refused. It is an error if current is empty, or an option is negative.
func NewVerifier(current, next string, o *VerifierOptions) (*Verifier, error) {
	v := &Verifier{}
	if o != nil {
		v.o = *o
	}
	if current == "" {
		return nil, errors.New("qstash: the current signing key is empty")
	}
	if v.o.ClockSkew < 0 || v.o.MaxBody < 0 {
		return nil, errors.New("qstash: an option of the verifier is negative")
	}
	v.o.MaxBody = cmp.Or(v.o.MaxBody, DefaultVerifierMaxBody)
	v.keys.Keys = []jwt.VerificationKey{[]byte(current)}
	if next != "" { // an empty key is one that everybody knows
		v.keys.Keys = append(v.keys.Keys, []byte(next))
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer),
		jwt.WithExpirationRequired(), jwt.WithLeeway(v.o.ClockSkew),
	}
	if v.o.Clock != nil {
		options = append(options, jwt.WithTimeFunc(v.o.Clock.Now))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// signedClaims is what a signature says.
type signedClaims struct {
	jwt.RegisteredClaims
	Body string `json:"body"`
}

// Verify checks that signature, the value of the header Upstash-Signature, was
// made with one of the keys for this body, and has not expired; and if url is not
// empty, for that URL, compared as text. Signature and hash are compared in
// constant time.
//
// Errors: [ErrNotSigned] for an empty signature, else [ErrSignature] with the
// reason.
func (v *Verifier) Verify(signature string, body []byte, url string) error {
	if signature == "" {
		return ErrNotSigned
	}
	var c signedClaims
	key := func(*jwt.Token) (any, error) { return v.keys, nil }
	if _, err := v.parser.ParseWithClaims(signature, &c, key); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if !sameHash(c.Body, bodyHash(body)) {
		return fmt.Errorf("%w: it is for another body", ErrSignature)
	}
	if url != "" && c.Subject != url {
		return fmt.Errorf("%w: it is for %.200q and not for %.200q", ErrSignature, c.Subject, url)
	}
	return nil
}

// sameHash compares hashes in base64; some are padded.
func sameHash(a, b string) bool {
	unpadded := func(s string) []byte { return []byte(strings.TrimRight(s, "=")) }
	return subtle.ConstantTimeCompare(unpadded(a), unpadded(b)) == 1
}
