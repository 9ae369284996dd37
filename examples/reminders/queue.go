package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// queue is what the shop needs of QStash's API. A program may as well use one of
// Upstash's SDKs.
type queue struct {
	url, token string
	client     *http.Client
}

// call makes one request, with headers in pairs, and wants a 2xx.
func (q *queue) call(ctx context.Context, method, path, body string, headers ...string) error {
	req, err := http.NewRequestWithContext(ctx, method, q.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+q.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := q.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	return nil
}

func (q *queue) publish(ctx context.Context, dest, body string, headers ...string) error {
	return q.call(ctx, http.MethodPost, "/v2/publish/"+dest, body, headers...)
}

func (q *queue) schedule(ctx context.Context, id, cron, dest string) error {
	return q.call(ctx, http.MethodPost, "/v2/schedules/"+dest, "", "Upstash-Cron", cron, "Upstash-Schedule-Id", id)
}

func (q *queue) cancel(ctx context.Context, label string) error {
	return q.call(ctx, http.MethodDelete, "/v2/messages?label="+url.QueryEscape(label), "")
}
