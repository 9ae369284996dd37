#!/usr/bin/env bash
# lint.sh: format, static analysis, tidy modules, and builds for other
# platforms. "lint.sh fmt" formats instead.
set -euo pipefail
. "$(dirname "$0")/common.sh"

# The newest golangci-lint that Go 1.25, the oldest that Recall supports, can
# build. It is run from its own module and never part of ours.
linter=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.0

scripts/setup.sh go
mkdir -p bin
golangci() { GOWORK=off GOFLAGS=-mod=mod go run "$linter" "$@"; }

if [ "${1:-}" = fmt ]; then
	for module in $(modules); do (cd "$module" && golangci fmt ./...); done
	exit
fi

for module in $(modules); do
	echo "== $module: golangci-lint"
	(cd "$module" && golangci run --config "$root/.golangci.yml" ./...)
	echo "== $module: go.mod is tidy"
	(cd "$module" && GOWORK=off go mod tidy -diff)
done

for target in windows/amd64 darwin/arm64 linux/386 linux/arm64; do
	echo "== build and vet for $target"
	for module in $(modules); do
		(cd "$module" && CGO_ENABLED=0 GOOS=${target%/*} GOARCH=${target#*/} sh -c 'go build ./... && go vet ./...')
	done
done

echo "== scripts"
for script in scripts/*.sh .ci/run; do bash -n "$script"; done

echo "== no registry hosts and no paths of one machine"
if git grep -nIE '(proxy\.golang\.org|sum\.golang\.org|registry\.npmjs|/root/|/home/[a-z])' -- . ':!scripts/lint.sh' ':!**/go.sum'; then
	echo "lint: the lines above name a host or a path" >&2
	exit 1
fi
echo "lint: ok"
