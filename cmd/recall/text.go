package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// zeroless is a number, "" for 0.
func zeroless[N ~int | ~int64](n N) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func retriesText(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func yesText(yes bool) string {
	if yes {
		return "yes"
	}
	return ""
}

// plainText returns a body that a terminal can show, without what could steer it.
func plainText(body []byte) (string, bool) {
	if !utf8.Valid(body) || strings.ContainsRune(string(body), 0) {
		return "", false
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, string(body)), true
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, i := float64(n), -1
	for ; size >= unit && i < len("KMGTP")-1; i++ {
		size /= unit
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGTP"[i])
}
