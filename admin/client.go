package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/recallmq/recall"
)

// Client calls the operations of a broker over HTTP. Its methods are safe for
// concurrent use, and mirror those of a [recall.Broker], with its results and
// errors. Beside these there are [ErrUnauthorized], [ErrForbidden], [ErrTooLarge],
// [ErrTooManyRequests], a *[StatusError], and those of the connection: after one of
// these it is not known whether a change was made.
type Client struct {
	base, token string
	http        *http.Client
}

// New returns a client of the server at baseURL, such as "https://host:8080", with
// a token of it. A nil web means http.DefaultClient. A URL that is none is
// [recall.ErrInvalid].
func New(baseURL, token string, web *http.Client) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, &recall.InvalidError{Field: "URL", Reason: fmt.Sprintf("%.100q is not the http or https URL of a server", baseURL)}
	}
	if web == nil {
		web = http.DefaultClient
	}
	return &Client{strings.TrimRight(baseURL, "/"), token, web}, nil
}

// send makes a request. An answer that is an error is returned as a *failure or a
// *[StatusError].
func (c *Client) send(ctx context.Context, name string, q any) (*http.Response, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, &recall.InvalidError{Field: "request", Reason: err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+Prefix+name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

// maxError bounds what is read of an answer that is an error.
const maxError = 32 << 20

// failure is an error of the server, and what the call has done all the same.
type failure struct {
	error
	result json.RawMessage
}

func (f *failure) Unwrap() error { return f.error }

func readError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // what has come says it
	var result json.RawMessage
	w := wireError{Result: &result}
	if err := json.Unmarshal(text, &w); err != nil || w.Code == "" {
		return &StatusError{Status: resp.StatusCode, Text: string(text[:min(len(text), 200)])}
	}
	return &failure{w.err(), result}
}

// ask makes a call that answers with one object.
func ask[A any](ctx context.Context, c *Client, name string, q any) (a A, err error) {
	resp, err := c.send(ctx, name, q)
	var f *failure
	if errors.As(err, &f) {
		if f.result != nil {
			_ = json.Unmarshal(f.result, &a) // the error is what matters
		}
		return a, ownError(ctx, f.error)
	}
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, fmt.Errorf("recall: the answer cannot be read: %w", err)
	}
	return a, nil
}

// ownError is that of the caller's context, where the server has met the end of it.
func ownError(ctx context.Context, err error) error {
	if errors.Is(err, errInterrupted) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// plainError leaves a result aside that came with an error.
func plainError(ctx context.Context, err error) error {
	var f *failure
	if errors.As(err, &f) {
		err = f.error
	}
	return ownError(ctx, err)
}

// tell makes a call that answers nothing.
func (c *Client) tell(ctx context.Context, name string, q any) error {
	_, err := ask[none](ctx, c, name, q)
	return err
}

// each makes a call that lists, and converts what comes.
func each[W, T any](ctx context.Context, c *Client, name string, q any, convert func(W) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		fail := func(err error) { yield(zero, ownError(ctx, err)) }
		resp, err := c.send(ctx, name, q)
		if err != nil {
			fail(plainError(ctx, err))
			return
		}
		defer resp.Body.Close()
		lines := json.NewDecoder(bufio.NewReader(resp.Body))
		for {
			var l line[W]
			switch err := lines.Decode(&l); {
			case errors.Is(err, io.EOF):
				fail(fmt.Errorf("recall: the list has ended too early: %w", io.ErrUnexpectedEOF))
				return
			case err != nil:
				fail(fmt.Errorf("recall: the list cannot be read: %w", err))
				return
			case l.Error != nil:
				fail(l.Error.err())
				return
			case l.End != nil:
				return
			case l.Item == nil:
				fail(errors.New("recall: the list cannot be read: a line is neither an item, an error nor the end"))
				return
			}
			item, err := convert(*l.Item)
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// collect is each for lists that are short.
func collect[T any](items iter.Seq2[T, error]) (list []T, err error) {
	for item, err := range items {
		if err != nil {
			return list, err
		}
		list = append(list, item)
	}
	return list, nil
}
