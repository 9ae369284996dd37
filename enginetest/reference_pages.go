package enginetest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
)

// checkAfter refuses what a list cannot go on behind: neither empty nor a ULID with that
// prefix or, without one, two numbers with a dash, the second of which counts from 1.
func checkAfter[ID ~string](after ID, prefix string) error {
	ok := after == ""
	if text, found := strings.CutPrefix(string(after), prefix); found && prefix != "" {
		_, err := ulid.ParseStrict(text)
		ok = err == nil
	} else if before, number, found := strings.Cut(string(after), "-"); found && prefix == "" {
		_, errBefore := strconv.ParseUint(before, 10, 63)
		n, err := strconv.ParseUint(number, 10, 63)
		ok = errBefore == nil && err == nil && n > 0
	}
	if !ok {
		return fmt.Errorf("%w: %q is no id", recall.ErrInvalid, after)
	}
	return nil
}
