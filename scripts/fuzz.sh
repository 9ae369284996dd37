#!/usr/bin/env bash
# fuzz.sh: runs every fuzz target of every module for FUZZTIME.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh go
found=0
for module in $(modules); do
	for package in $(within "$module" go list ./...); do
		listed=$(within "$module" go test -list '^Fuzz' "$package") || {
			echo "$listed" >&2 # it does not build
			exit 1
		}
		for target in $(grep '^Fuzz' <<<"$listed" || true); do
			found=$((found + 1))
			echo "== $package $target"
			within "$module" go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" "$package"
		done
	done
done
[ "$found" -gt 0 ] || {
	echo "fuzz: no targets found" >&2
	exit 1
}
echo "fuzz: $found targets"
