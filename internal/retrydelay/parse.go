package retrydelay

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// token is a number, a name, or one of the characters ( ) , + - * /.
type token struct {
	kind   kind
	text   string
	offset int
}

type kind byte

const (
	end    kind = 0
	number kind = '0'
	name   kind = 'a'
	other  kind = '?'
)

// parser reads an expression by recursive descent: a sum of products of factors.
// After the first error it reads nothing more.
type parser struct {
	text  string
	at    int
	tok   token
	depth int
	err   *SyntaxError
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{p.tok.offset, fmt.Sprintf(format, args...)}
	}
	p.tok.kind = end
}

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
)

// next reads a token.
func (p *parser) next() {
	p.at += len(p.text[p.at:]) - len(strings.TrimLeft(p.text[p.at:], " \t"))
	p.tok = token{offset: p.at}
	if p.at == len(p.text) || p.err != nil {
		return
	}
	switch c := p.text[p.at]; {
	case strings.IndexByte(digits+".", c) >= 0:
		p.tok.kind, p.tok.text = number, p.number()
	case strings.IndexByte(letters, c) >= 0:
		p.tok.kind, p.tok.text = name, p.run(letters+digits)
	case strings.IndexByte("(),+-*/", c) >= 0:
		p.tok.kind = kind(c)
		p.at++
	default:
		p.tok.kind = other
	}
}

// run reads the longest text of some characters.
func (p *parser) run(of string) string {
	rest := p.text[p.at:]
	text := rest[:len(rest)-len(strings.TrimLeft(rest, of))]
	p.at += len(text)
	return text
}

// number reads digits with a point and an exponent, whether they are one or not.
func (p *parser) number() string {
	from := p.at
	p.run(digits + ".")
	if rest := p.text[p.at:]; len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		p.at++
		if rest = rest[1:]; len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			p.at++
		}
		p.run(digits)
	}
	return p.text[from:p.at]
}

// take reads a token of a kind if it is next.
func (p *parser) take(k kind) bool {
	if p.tok.kind != k {
		return false
	}
	p.next()
	return true
}

func (p *parser) sum() node {
	left := p.product()
	for {
		switch a := left; {
		case p.take('+'):
			b := p.product()
			left = func(r float64) float64 { return a(r) + b(r) }
		case p.take('-'):
			b := p.product()
			left = func(r float64) float64 { return a(r) - b(r) }
		default:
			return left
		}
	}
}

func (p *parser) product() node {
	left := p.factor()
	for {
		switch a := left; {
		case p.take('*'):
			b := p.factor()
			left = func(r float64) float64 { return a(r) * b(r) }
		case p.take('/'):
			b := p.factor()
			left = func(r float64) float64 { return a(r) / b(r) }
		default:
			return left
		}
	}
}

// factor is the one rule through which expressions nest.
func (p *parser) factor() node {
	if p.depth++; p.depth > MaxDepth {
		p.fail("it is nested more than %d deep", MaxDepth)
	}
	defer func() { p.depth-- }()
	switch tok := p.tok; {
	case p.take('-'):
		a := p.factor()
		return func(r float64) float64 { return -a(r) }
	case p.take('+'):
		return p.factor()
	case p.take('('):
		a := p.sum()
		p.need(')')
		return a
	case tok.kind == number:
		return p.constant(tok)
	case tok.kind == name:
		return p.named(tok)
	case tok.kind == other:
		p.fail("%q has no meaning here", p.text[tok.offset:tok.offset+1])
	default:
		p.fail("a number, retried, a function or ( is missing")
	}
	return nil
}

func (p *parser) need(k kind) {
	if !p.take(k) {
		p.fail("%q is missing", string(rune(k)))
	}
}

func (p *parser) constant(tok token) node {
	v, err := strconv.ParseFloat(tok.text, 64)
	if err != nil {
		p.fail("%q is no number", tok.text)
	}
	p.next()
	return func(float64) float64 { return v }
}

// function is one that an expression may call, of so many arguments at least and
// at most.
type function struct {
	least, most int
	of          func(args []float64) float64
}

func one(f func(float64) float64) function {
	return function{1, 1, func(args []float64) float64 { return f(args[0]) }}
}

// many folds two or more arguments.
func many(f func(a, b float64) float64) function {
	return function{2, MaxLength, func(args []float64) float64 {
		v := args[0]
		for _, a := range args[1:] {
			v = f(v, a)
		}
		return v
	}}
}

var functions = map[string]function{
	"pow":   {2, 2, func(args []float64) float64 { return math.Pow(args[0], args[1]) }},
	"exp":   one(math.Exp),
	"sqrt":  one(math.Sqrt),
	"abs":   one(math.Abs),
	"floor": one(math.Floor),
	"ceil":  one(math.Ceil),
	"round": one(math.Round),
	"min":   many(math.Min),
	"max":   many(math.Max),
}

// named reads the variable or a call.
func (p *parser) named(tok token) node {
	if tok.text == "retried" {
		p.next()
		return func(r float64) float64 { return r }
	}
	f, known := functions[tok.text]
	if !known {
		p.fail("%q is unknown", tok.text)
		return nil
	}
	p.next()
	args := p.arguments()
	if p.err == nil && (len(args) < f.least || len(args) > f.most) {
		p.tok.offset = tok.offset
		p.fail("%s takes %d, not %d arguments", tok.text, f.least, len(args))
	}
	return func(r float64) float64 {
		values := make([]float64, len(args))
		for i, a := range args {
			values[i] = a(r)
		}
		return f.of(values)
	}
}

func (p *parser) arguments() (args []node) {
	p.need('(')
	for p.err == nil && !p.take(')') {
		if len(args) > 0 {
			p.need(',')
		}
		args = append(args, p.sum())
	}
	return args
}
