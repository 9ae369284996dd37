package qstash

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

var units = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

// parseDuration reads what headers spell like "1d10h30m" or "50s". A bare
// number is seconds.
func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		return scaled(n, time.Second)
	}
	var total time.Duration
	for rest := s; rest != "" || s == ""; {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		if i == 0 || i == len(rest) || units[rest[i]] == 0 {
			return 0, fmt.Errorf("%q is not a duration such as 50s or 1d10h30m", s)
		}
		n, err := strconv.ParseUint(rest[:i], 10, 63)
		if err != nil {
			return 0, fmt.Errorf("%q is too long", s)
		}
		d, err := scaled(n, units[rest[i]])
		if err != nil || total > math.MaxInt64-d {
			return 0, fmt.Errorf("%q is too long", s)
		}
		total, rest = total+d, rest[i+1:]
	}
	return total, nil
}

func scaled(n uint64, unit time.Duration) (time.Duration, error) {
	if n > uint64(math.MaxInt64/unit) {
		return 0, fmt.Errorf("%d times %v is too long", n, unit)
	}
	return time.Duration(n) * unit, nil
}
