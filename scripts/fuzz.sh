#!/usr/bin/env bash
# fuzz.sh: runs every fuzz target of every module for FUZZTIME.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh go
found=0
for module in $(modules); do
	for package in $(cd "$module" && go list ./...); do
		for target in $(cd "$module" && go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
			found=$((found + 1))
			echo "== $package $target"
			(cd "$module" && go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" "$package")
		done
	done
done
[ "$found" -gt 0 ] || { echo "fuzz: no targets found" >&2; exit 1; }
echo "fuzz: $found targets"
