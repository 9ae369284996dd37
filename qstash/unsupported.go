package qstash

import "net/http"

// modelRoutes and workflowRoutes belong to other products that Upstash serves
// at the same address. Their clients are told so: a 404 without a word looks like a
// wrong address. Those of models stand before publishing, or they would be names
// of URL groups; those of workflows behind all others, which may know some.
var (
	modelRoutes = every(noModels,
		"llm/",
		"v2/publish/api/llm",
	)
	workflowRoutes = every(noWorkflows,
		"v2/workflows", "v2/workflows/",
		"v2/notify", "v2/notify/",
		"v2/waiters", "v2/waiters/",
		"v2/wait", "v2/wait/",
		"v2/trigger", "v2/trigger/",
		"v2/batch/trigger",
	)
)

// every serves paths by any method in the same way.
func every(c call, paths ...string) (routes []route) {
	methods := map[string]call{}
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		methods[m] = c
	}
	for _, path := range paths {
		routes = append(routes, route{path, methods})
	}
	return routes
}

func noModels(*handler, http.ResponseWriter, *http.Request, string) error {
	return notFound("language models are not part of Recall: publish to the provider's own URL instead")
}

func noWorkflows(*handler, http.ResponseWriter, *http.Request, string) error {
	return notFound("workflows are not part of Recall: it serves QStash's messages, queues and schedules only")
}
