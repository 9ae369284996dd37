package jsonerrors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// texts say in our words what the server says in a word or two.
var texts = map[int]string{
	http.StatusBadRequest:                  "the request is malformed: its first line, an escape in its path, or a header cannot be read",
	http.StatusExpectationFailed:           "the only expectation that can be met is 100-continue",
	http.StatusRequestHeaderFieldsTooLarge: "the request line with its query, or the headers, are too large",
	http.StatusNotImplemented:              "the transfer encoding is not supported: there is chunked, and none",
	http.StatusHTTPVersionNotSupported:     "the version of HTTP is not supported",
}

// inJSON is an error that net/http writes with its body in JSON; ok is false if it
// is something else.
func inJSON(p []byte) (text []byte, ok bool) {
	status, ok := errorStatus(p)
	if !ok {
		return nil, false
	}
	return answer(status, reason(status, p)), true
}

// errorStatus reads the first line of a response.
func errorStatus(p []byte) (status int, ok bool) {
	const version = "HTTP/1.x "
	if len(p) < len(version)+3 || !bytes.HasPrefix(p, []byte("HTTP/1.")) {
		return 0, false
	}
	status, err := strconv.Atoi(string(p[len(version) : len(version)+3]))
	return status, err == nil && status >= http.StatusBadRequest
}

// reason is what to tell the client. Some errors come with a detail, behind the
// status in their text: "400 Bad Request: missing required Host header".
func reason(status int, p []byte) string {
	_, body, _ := strings.Cut(string(p), "\r\n\r\n")
	if detail, ok := strings.CutPrefix(body, fmt.Sprintf("%d %s: ", status, http.StatusText(status))); ok {
		return "the request cannot be taken: " + detail
	}
	if text, ok := texts[status]; ok {
		return text
	}
	return strings.ToLower(http.StatusText(status))
}

// answer is a whole response, after which the connection is closed.
func answer(status int, text string) []byte {
	body, err := json.Marshal(map[string]string{"error": text})
	if err != nil {
		panic(err) // strings always encode
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n",
		status, http.StatusText(status), len(body)+1, body)
}
