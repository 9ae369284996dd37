package cron

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	parser "github.com/netresearch/go-cron"
)

// Limits of a line.
const (
	MaxLine  = 256                       // bytes
	MinEvery = time.Minute               // of @every
	MaxEvery = 10 * 365 * 24 * time.Hour // of @every
)

// SyntaxError says what of a line is wrong, and where.
type SyntaxError struct {
	Offset int    // of Text in the line, in bytes
	Field  string // "minute", "hour", …; "" if it is not about a field
	Text   string // the part that is wrong
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	where := fmt.Sprintf("at byte %d", e.Offset)
	if e.Field != "" {
		where += ", " + e.Field
	}
	return fmt.Sprintf("%s: %q: %s", where, e.Text, e.Reason)
}

// part is a piece of a line.
type part struct {
	at   int
	text string
}

func (p part) fault(reason string, args ...any) *SyntaxError {
	return &SyntaxError{Offset: p.at, Text: p.text, Reason: fmt.Sprintf(reason, args...)}
}

// cut splits p at the first separator.
func (p part) cut(sep string) (before, after part, found bool) {
	i := strings.Index(p.text, sep)
	if i < 0 {
		return p, part{}, false
	}
	return part{p.at, p.text[:i]}, part{p.at + i + len(sep), p.text[i+len(sep):]}, true
}

// words splits p at blanks.
func (p part) words() (out []part) {
	for i := 0; i < len(p.text); {
		if isBlank(p.text[i]) {
			i++
			continue
		}
		end := i
		for end < len(p.text) && !isBlank(p.text[end]) {
			end++
		}
		out = append(out, part{p.at + i, p.text[i:end]})
		i = end
	}
	return out
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// descriptors are the names of lines.
var descriptors = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// fieldParser reads five fields. A day is named by its number or by its weekday
// if both are, as everywhere but in the parser's own default.
var fieldParser = parser.MustNewParser(parser.Minute | parser.Hour | parser.Dom | parser.Month | parser.Dow | parser.DowOrDom)

// Parse reads a line: five fields, or one of @yearly, @annually, @monthly,
// @weekly, @daily, @midnight, @hourly and "@every 90m", behind "CRON_TZ=Zone " or
// "TZ=Zone " if it is not in UTC. Errors are a *SyntaxError.
func Parse(line string) (*Line, error) {
	l, fault := parse(line)
	if fault != nil {
		return nil, fault
	}
	return l, nil
}

func parse(line string) (*Line, *SyntaxError) {
	if len(line) > MaxLine {
		rest := part{MaxLine, line[MaxLine:min(len(line), MaxLine+16)]}
		return nil, rest.fault("the line is longer than %d bytes", MaxLine)
	}
	words := part{0, line}.words()
	loc, words, fault := zone(words)
	if fault != nil {
		return nil, fault
	}
	if len(words) == 0 {
		return nil, part{len(line), ""}.fault("the line has no fields")
	}
	if strings.HasPrefix(words[0].text, "@") {
		return descriptor(words, loc)
	}
	if fault := checkFields(words, len(line)); fault != nil {
		return nil, fault
	}
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	l, err := readFields(strings.Join(texts, " "), loc)
	if err != nil {
		return nil, part{words[0].at, line[words[0].at:]}.fault("%v", err)
	}
	return l, nil
}

// readFields hands fields to the parser.
func readFields(fields string, loc *time.Location) (*Line, error) {
	s, err := fieldParser.Parse(fields)
	if err != nil {
		return nil, err
	}
	spec, ok := s.(*parser.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("it is a %T", s)
	}
	l := newLine(spec, loc)
	if _, ok := l.match(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return nil, fmt.Errorf("no month has such a day")
	}
	return l, nil
}

// zone takes the prefix that names a time zone.
func zone(words []part) (*time.Location, []part, *SyntaxError) {
	if len(words) == 0 {
		return time.UTC, words, nil
	}
	key, name, found := words[0].cut("=")
	if !found {
		return time.UTC, words, nil
	}
	if key.text != "CRON_TZ" && key.text != "TZ" {
		return nil, nil, key.fault("only CRON_TZ= and TZ= may stand before the fields")
	}
	if name.text == "" || name.text == "Local" {
		return nil, nil, name.fault("a time zone needs a name, such as Europe/Berlin")
	}
	loc, err := time.LoadLocation(name.text)
	if err != nil {
		return nil, nil, name.fault("there is no such time zone here: %v", err)
	}
	return loc, words[1:], nil
}

func descriptor(words []part, loc *time.Location) (*Line, *SyntaxError) {
	name := words[0]
	if name.text == "@every" {
		return every(words)
	}
	fields, known := descriptors[name.text]
	if !known {
		return nil, name.fault("there is no such name of a line")
	}
	if len(words) > 1 {
		return nil, words[1].fault("nothing may follow %s", name.text)
	}
	l, err := readFields(fields, loc)
	if err != nil {
		return nil, name.fault("%v", err)
	}
	return l, nil
}

func every(words []part) (*Line, *SyntaxError) {
	if len(words) != 2 {
		return nil, words[0].fault("one duration must follow, such as 90m")
	}
	d, err := time.ParseDuration(words[1].text)
	switch {
	case err != nil:
		return nil, words[1].fault("it is not a duration, such as 90m")
	case d < MinEvery || d > MaxEvery:
		return nil, words[1].fault("it is not between %v and %v", MinEvery, MaxEvery)
	case d%time.Second != 0:
		return nil, words[1].fault("it is not in whole seconds")
	}
	return &Line{every: d, loc: time.UTC}, nil
}

// field is one of the five.
type field struct {
	name     string
	min, max int
	names    []string // of min, min+1, …
	question bool     // "?" stands for a star
}

var fields = []field{
	{"minute", 0, 59, nil, false},
	{"hour", 0, 23, nil, false},
	{"day of month", 1, 31, nil, true},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}, false},
	{"day of week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}, true},
}

func checkFields(words []part, end int) *SyntaxError {
	for i, w := range words {
		if i == len(fields) {
			return w.fault("there are more than five fields")
		}
		if fault := fields[i].check(w); fault != nil {
			fault.Field = fields[i].name
			return fault
		}
	}
	if len(words) < len(fields) {
		fault := part{end, ""}.fault("the field is missing: a line has five")
		fault.Field = fields[len(words)].name
		return fault
	}
	return nil
}

// check looks at each element of a list.
func (f *field) check(w part) *SyntaxError {
	for rest, more := w, true; more; {
		var element part
		element, rest, more = rest.cut(",")
		if fault := f.element(element); fault != nil {
			return fault
		}
	}
	return nil
}

// element is a star, a value or a range, and perhaps a step.
func (f *field) element(p part) *SyntaxError {
	span, stepText, stepped := p.cut("/")
	low, high := f.min, f.max
	if !f.isStar(span.text) {
		first, last, ranged := span.cut("-")
		var fault *SyntaxError
		if low, fault = f.value(first); fault != nil {
			return fault
		}
		if ranged {
			if high, fault = f.value(last); fault != nil {
				return fault
			}
		}
	}
	if !stepped {
		return nil
	}
	if low > high {
		return p.fault("a range that begins anew cannot have a step")
	}
	step, err := number(stepText.text)
	switch {
	case err != nil || step == 0:
		return stepText.fault("a step is a number from 1 on")
	case step > 1 && step > high-low:
		return stepText.fault("the step is longer than the range from %d to %d", low, high)
	}
	return nil
}

func (f *field) isStar(s string) bool { return s == "*" || s == "?" && f.question }

func (f *field) value(p part) (int, *SyntaxError) {
	if i := slices.Index(f.names, strings.ToLower(p.text)); i >= 0 {
		return f.min + i, nil
	}
	n, err := number(p.text)
	switch {
	case p.text == "":
		return 0, p.fault("a value is missing")
	case err != nil && f.names != nil:
		return 0, p.fault("it is neither a number nor a name such as %s", f.names[1])
	case err != nil:
		return 0, p.fault("it is not a number")
	case n < f.min || n > f.max:
		return 0, p.fault("it is not between %d and %d", f.min, f.max)
	}
	return n, nil
}

// number reads digits only, unlike strconv.
func number(s string) (int, error) {
	if len(s) > 4 || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(s)
}
