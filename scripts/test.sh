#!/usr/bin/env bash
# test.sh: builds, vets and tests every module, with the race detector, and
# prints totals. RECALL_SOAK=1 makes the tests run at full size, without the
# detector: it would take ten times as long, and finds what it finds in small.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh go
# Tests look for their parts themselves; here they are only brought.
missing=" $(scripts/setup.sh gcc strace node chromium wrk postgres redis | tr '\n' ' ')" || true

timeout=60m
[ -z "${RECALL_SOAK:-}" ] || timeout=80m

# step NAME COMMAND... prints what a command says, and notes a failure.
step() {
	local name=$1
	shift
	"$@" 2>&1 || echo "@failed $name"
}

# events prints what testreport reads: the events of go test, and lines with an
# @ for all that is not a test.
events() {
	local race=-race
	if [ -n "${RECALL_SOAK:-}" ]; then
		race=
	elif [[ $missing == *' gcc '* ]]; then
		race=
		if in_ci; then
			echo "@failed the race detector: no C compiler"
		else
			echo "@skipped the race detector: no C compiler"
		fi
	fi
	local module fresh
	for module in $(modules); do
		# Tests of the other modules read documents of this one. The go command does
		# not look whether files outside of a module have changed, and would answer
		# from its cache.
		fresh=-count=1
		[ "$module" != . ] || fresh=
		echo "@module $module"
		# -o: a module with a single program would leave it lying here.
		step "$module: go build, alone" within "$module" env GOWORK=off go build -o /dev/null ./...
		step "$module: go vet" within "$module" go vet ./...
		step "$module: go test" within "$module" env ${race:+CGO_ENABLED=1} \
			go test -json $race $fresh -timeout "$timeout" ./...
	done
}

mkdir -p bin
go build -o bin/testreport ./internal/testreport
events | bin/testreport
