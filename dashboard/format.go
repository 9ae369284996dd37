package dashboard

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

var functions = template.FuncMap{
	"n":        number[int],
	"n64":      number[int64],
	"size":     size,
	"took":     took,
	"when":     when,
	"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"stamp":    stamp,
	"from":     fromNow,
	"text":     bodyText,
	"query":    filterQuery,
	"one":      one,
	"join":     strings.Join,
	"short":    short,
	"headers":  headers,
	"decimal":  decimal,
	"is":       func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) },
	"list":     func(parts ...any) []any { return parts },
	"head":     func(ids []recall.MessageID) []recall.MessageID { return ids[:min(len(ids), sampleSize)] },
	"plus1":    func(n *int) int { return *n + 1 },
	"minus":    func(a, b int) int { return max(0, a-b) },
	"atLeast1": func(n int) int { return max(1, n) },
	"share":    share,
	"encoded":  encoded,
	"older":    func(id recall.OperationID) string { return olderQuery(id) },
	"page":     func(later bool, first, next any) pager { return pager{later, encoded(first), encoded(next)} },
}

// number groups digits: 12,345.
func number[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

func size(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/step, 0
	for value >= step && unit < 3 {
		value, unit = value/step, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[unit])
}

// took writes a duration with two or three digits that matter.
func took(d time.Duration) string {
	switch a := d.Abs(); {
	case a == 0:
		return "0 s"
	case a < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case a < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case a < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case a < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case a < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case a < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case a < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
}

// stamp is a time to the second, in UTC as all times of the dashboard.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// fromNow says how far a time is from now: "in 3 h", "12 s ago".
func fromNow(now, t time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return ""
	case d.Abs() < time.Second:
		return "now"
	case d > 0:
		return "in " + took(d)
	default:
		return took(-d) + " ago"
	}
}

var whenTemplate = template.Must(template.New("").Parse(
	`{{if .Stamp}}<time datetime="{{.Machine}}" title="{{.Stamp}} UTC">{{.From}}</time>{{else}}–{{end}}`))

// when is a time as how far it is, with the time itself at hand.
func when(now, t time.Time) (template.HTML, error) {
	var out strings.Builder
	err := whenTemplate.Execute(&out, map[string]string{
		"Stamp": stamp(t), "Machine": t.UTC().Format(time.RFC3339), "From": fromNow(now, t),
	})
	return template.HTML(out.String()), err // from a template that escapes
}

// decimal is a rate or a number of milliseconds for a person.
func decimal(f float64) string {
	switch {
	case f == math.Trunc(f) || f >= 100:
		return number(int(math.Round(f)))
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
}

// maxShown is how much of a body is shown, in bytes.
const maxShown = 32 << 10

// shown is a body made fit for a page.
type shown struct {
	Text   string
	Binary bool // Text is a dump
	Bytes  int  // of all of it
	Cut    bool
}

func bodyText(body []byte) shown {
	s := shown{Bytes: len(body)}
	if len(body) > maxShown {
		body, s.Cut = body[:maxShown], true
		for i := 0; i < utf8.UTFMax && !utf8.Valid(body); i++ {
			body = body[:len(body)-1] // a character was cut in two
		}
	}
	if !printable(body) {
		s.Binary = true
		s.Text = hex.Dump(body[:min(len(body), 4<<10)])
		s.Cut = s.Bytes > 4<<10
		return s
	}
	s.Text = string(body)
	return s
}

func printable(body []byte) bool {
	return utf8.Valid(body) && bytes.IndexFunc(body, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	}) < 0
}

// short cuts a long text for a table; all of it is in the title beside it.
func short(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}

// one is the query of a filter with one value of one field.
func one(field, value string) template.URL {
	return template.URL(url.Values{field: {value}}.Encode()) // encoded
}

func filterQuery(f recall.Filter) template.URL {
	return template.URL(valuesOf(f).Encode()) // encoded
}

// headerLine is one value of a header.
type headerLine struct{ Name, Value string }

func headers(h http.Header) (list []headerLine) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			list = append(list, headerLine{name, value})
		}
	}
	return list
}

// encoded marks a query that url.Values has written.
func encoded(query any) template.URL { return template.URL(fmt.Sprint(query)) }

// pager are the links below a list; the queries are encoded.
type pager struct {
	Later       bool
	First, Next template.URL
}

func olderQuery(id recall.OperationID) string {
	if id == "" {
		return ""
	}
	return url.Values{"before": {string(id)}}.Encode()
}

// share is the width of a bar, in percent of the longest.
func share(count int, of []stateCount) int {
	longest := 1
	for _, s := range of {
		longest = max(longest, s.Count)
	}
	if count == 0 {
		return 0
	}
	return max(1, 100*count/longest)
}
