#!/usr/bin/env bash
# test.sh: vets, builds and tests every module, with the race detector, and
# prints totals. RECALL_SOAK=1 makes the tests run at full size.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh go
race=-race
if ! scripts/setup.sh gcc; then
	in_ci && exit 1
	echo "test: without a C compiler the race detector is left out" >&2
	race=
fi
scripts/setup.sh strace || true # its tests are skipped without it, or fail with CI set

timeout=20m
[ -z "${RECALL_SOAK:-}" ] || timeout=80m

for module in $(modules); do
	echo "== $module: build alone and vet"
	(cd "$module" && GOWORK=off go build ./... && go vet ./...)
done
# The tests of all modules go through one reader, which prints failures, the
# time of each package, and the totals.
status=0
go build -o bin/testreport ./internal/testreport
for module in $(modules); do
	echo "@module $module"
	(cd "$module" && go test -json $race -timeout "$timeout" ./... 2>&1) || true
done | bin/testreport || status=$?
exit $status
