package qstash

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/recallmq/recall"
)

// What a signature says besides the text of the message.
const (
	headerSignature = "Upstash-Signature"
	issuer          = "Upstash"
	signatureLife   = 5 * time.Minute
)

// sign makes the signature of one attempt: a JWT over its URL, as the publisher
// wrote it, and its body. It begins to hold in 1970, since the clock of the
// receiver may be behind ours, and names no audience, since a receiver refuses
// one that it does not know.
func sign(key string, d *recall.Delivery) (string, error) {
	at := d.StartedAt.Unix()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss":  issuer,
		"sub":  d.URL,
		"iat":  at,
		"nbf":  0,
		"exp":  at + int64(signatureLife/time.Second),
		"jti":  "jwt_" + rand.Text(),
		"body": bodyHash(d.Body),
	}).SignedString([]byte(key))
}

// bodyHash is how a signature names a body, also an empty one.
func bodyHash(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.URLEncoding.EncodeToString(sum[:])
}

// newSigningKey returns a key of 140 random bits, in the form of QStash's.
func newSigningKey() string { return "sig_" + (rand.Text() + rand.Text())[:28] }
