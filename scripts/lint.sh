#!/usr/bin/env bash
# lint.sh: format, static analysis, tidy modules, other platforms,
# and names that do not belong here. "lint.sh fmt" formats instead.
set -euo pipefail
. "$(dirname "$0")/common.sh"

# The newest golangci-lint that Go 1.25, the oldest that Recall supports, can
# build: 2.13 asks for 1.26. It is run from its own module and never part of ours.
linter=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2

scripts/setup.sh go
# Its cache holds full paths: shared with another clone, exclusions miss.
export GOLANGCI_LINT_CACHE="$root/bin/.lint-cache"
golangci() { GOWORK=off go run "$linter" "$@"; }

if [ "${1:-}" = fmt ]; then
	for module in $(modules); do
		within "$module" golangci fmt --config "$root/.golangci.yml" ./...
	done
	exit
fi

# check NAME COMMAND... runs a command; a failure is remembered, so that one run
# shows all there is to repair.
failed=()
check() {
	local name=$1
	shift
	echo "== $name"
	"$@" </dev/null || failed+=("$name")
}

# foreign MODULE GOOS GOARCH: vet compiles what it looks at depends on, and looks at
# tests too. Nothing is linked: what a linker can miss is Go's own.
foreign() {
	within "$1" env CGO_ENABLED=0 GOOS="$2" GOARCH="$3" go vet ./...
}

scripts_parse() {
	local script status=0
	for script in scripts/*.sh .ci/run; do bash -n "$script" || status=1; done
	return $status
}

# Where packages come from is a setting of the reader's machine, and so are its
# folders. (The brackets keep this line from finding itself.)
no_hosts() {
	! git grep --untracked -nIE \
		'[p]roxy\.golang|[s]um\.golang|[g]oproxy\.|[r]egistry\.[a-z]+\.|[n]pmjs\.|[p]ypi\.org|[d]ocker\.io|[g]hcr\.io|/[r]oot/|/[h]ome/[a-z]|/[U]sers/[a-z]|(^|[^[:alnum:]_.-])/[w]ork/'
}

for module in $(modules); do
	check "$module: golangci-lint" within "$module" golangci run --allow-serial-runners --config "$root/.golangci.yml" ./...
	check "$module: go.mod is tidy" within "$module" env GOWORK=off go mod tidy -diff
done
for target in windows/amd64 darwin/arm64 linux/386 linux/arm64; do
	for module in $(modules); do
		check "$module: vet for $target" foreign "$module" "${target%/*}" "${target#*/}"
	done
done
check "scripts parse" scripts_parse
check "no registry hosts and no folders of one machine" no_hosts

if [ ${#failed[@]} -gt 0 ]; then
	printf 'lint: FAILED %s\n' "${failed[@]}" >&2
	exit 1
fi
echo "lint: ok"
