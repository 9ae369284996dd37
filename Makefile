# Everything here works on a fresh Debian or Ubuntu with Go; scripts/ holds the
# logic and installs what is missing.

.DEFAULT_GOAL := help
.PHONY: help run test soak sdk-latest lint build bench bench-quick bench-full bench-services fuzz cover fmt clean
.NOTPARALLEL:

# The Go that is here, never one that the go command would fetch.
export GOTOOLCHAIN := local

ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Do the main job visibly, then stay up as a local QStash (ARGS="--db q.db --once")
	bin/recall demo $(ARGS)

test: ## Run every suite of every module at small size
	@scripts/test.sh

soak: ## Run the same suites at full size
	@RECALL_SOAK=1 scripts/test.sh

sdk-latest: ## Run the suite of the JavaScript SDK with its newest version
	@scripts/setup.sh go
	cd sdk && RECALL_SDK_LATEST=1 go test -count=1 -v -run JavaScript

lint: ## Check format, static analysis, tidy modules and foreign platforms
	@scripts/lint.sh

build: ## Build bin/recall
	@scripts/setup.sh go
	cd cmd/recall && go build -o ../../bin/recall .

bench: ## Measure against the bare machine and other queues, about twenty minutes; figures and page in bench/results (ARGS="-n 1000000")
	@scripts/setup.sh go
	@scripts/setup.sh wrk >/dev/null || true # without it one workload is left out
	cd bench && go run . $(ARGS)

bench-quick: ## The same in about a minute, at small size
	@scripts/setup.sh go
	@scripts/setup.sh wrk >/dev/null || true # without it one workload is left out
	cd bench && go run . -quick -n 10000 -growth 10000,30000 $(ARGS)

bench-full: ## The same with five million messages, and a million in each other queue: forty minutes, and 20 GB of disk
	@scripts/setup.sh go
	@scripts/setup.sh wrk >/dev/null || true # without it one workload is left out
	cd bench && go run . -scale-large -full $(ARGS)

bench-services: ## Measure beside PostgreSQL, Redis and the embedded queues (ARGS="-peers 20000")
	@scripts/setup.sh go
	@scripts/setup.sh postgres redis >/dev/null || true # what cannot be had is left out, with the reason
	cd bench && go run . -services -only peers,postgres $(ARGS)

fuzz: ## Run every fuzz target for FUZZTIME (default 10s)
	@scripts/fuzz.sh

cover: ## Show test coverage of every module; pages are in coverage/
	@scripts/cover.sh

fmt: ## Format the code
	@scripts/lint.sh fmt

clean: ## Remove what was built
	rm -rf bin coverage sdk/js/node_modules dashboard/browser/node_modules
