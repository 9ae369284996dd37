package retrydelay

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDelay(t *testing.T) {
	for _, test := range []struct {
		text string
		want []time.Duration // ms, after the first failure, the second, …
	}{
		{"1000", []time.Duration{1000, 1000}},
		{"0", []time.Duration{0}},
		{".5e3", []time.Duration{500}},
		{"2.4", []time.Duration{2}},
		{"1000 * (1 + retried)", []time.Duration{1000, 2000, 3000}},
		{"max(1000, pow(2, retried) * 100)", []time.Duration{1000, 1000, 1000, 1000, 1600}},
		{"min(pow(2, retried) * 1000, 5000)", []time.Duration{1000, 2000, 4000, 5000}},
		{"max(1, retried, 2)", []time.Duration{2, 2, 2, 3}},
		{"\tround(10.4)+ceil(10.4)-floor(10.6)", []time.Duration{11}},
		{"sqrt(16)*abs(-3)/exp(0)", []time.Duration{12}},
		{"2+3*4-10/5", []time.Duration{12}},
		{"100-10-1", []time.Duration{89}},
		{"100/10/2", []time.Duration{5}},
		{"-(-7)", []time.Duration{7}},
		{"+7", []time.Duration{7}},
		{"-1000", []time.Duration{0}},
		{"1/0", []time.Duration{86_400_000}},
		{"-1/0", []time.Duration{0}},
		{"0/0", []time.Duration{0}},
		{"sqrt(-1)", []time.Duration{0}},
		{"1e300*1e300", []time.Duration{86_400_000}},
		{"86400001", []time.Duration{86_400_000}},
		{strings.Repeat("(", MaxDepth-1) + "1" + strings.Repeat(")", MaxDepth-1), []time.Duration{1}},
	} {
		e, err := Parse(test.text)
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		for retried, want := range test.want {
			if got := e.Delay(retried); got != want*time.Millisecond {
				t.Errorf("%q after %d retries: got %v, want %v", test.text, retried, got, want*time.Millisecond)
			}
		}
	}
}

func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "at offset 0: a number, retried, a function or ( is missing",
		"1 +":                    "at offset 3: a number, retried, a function or ( is missing",
		"1 2":                    "at offset 2: an operator is missing",
		"(1":                     `at offset 2: ")" is missing`,
		"1)":                     "at offset 1: an operator is missing",
		"2 ^ 3":                  "at offset 2: an operator is missing",
		"^":                      `at offset 0: "^" has no meaning here`,
		"retries":                `at offset 0: "retries" is unknown`,
		"Math.pow(2,3)":          `at offset 0: "Math" is unknown`,
		"pow(2)":                 "at offset 0: pow takes 2, not 1 arguments",
		"min(1)":                 "at offset 0: min takes 2, not 1 arguments",
		"1+sqrt(1,2)":            "at offset 2: sqrt takes 1, not 2 arguments",
		"pow 2":                  `at offset 4: "(" is missing`,
		"pow(2 3)":               `at offset 6: "," is missing`,
		"pow(2,":                 "at offset 6: a number, retried, a function or ( is missing",
		"1.2.3":                  `at offset 0: "1.2.3" is no number`,
		"1e":                     `at offset 0: "1e" is no number`,
		"1e999":                  `at offset 0: "1e999" is no number`,
		"1\n":                    "at offset 1: an operator is missing",
		"１":                      `at offset 0: "\xef" has no meaning here`,
		strings.Repeat("(", 40):  "at offset 32: it is nested more than 32 deep",
		strings.Repeat("-", 40):  "at offset 32: it is nested more than 32 deep",
		strings.Repeat("1", 257): "at offset 256: it has 257 bytes; the limit is 256",
	} {
		_, err := Parse(text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || err.Error() != want {
			t.Errorf("%.20q: got %v, want %s", text, err, want)
		}
	}
}

// FuzzParse: whatever is written, Parse returns, and what it accepts gives a
// delay within the bounds.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"1000 * (1 + retried)", "max(1000, pow(2, retried) * 100)", "-1/0", "((", "1e", "min(,)"} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, retried int) {
		e, err := Parse(text)
		var syntax *SyntaxError
		if err != nil {
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if d := e.Delay(retried); d < 0 || d > Max || d%time.Millisecond != 0 {
			t.Errorf("%q after %d: %v", text, retried, d)
		}
	})
}
