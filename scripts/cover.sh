#!/usr/bin/env bash
# cover.sh: coverage of every module, as a total and as a page in coverage/.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh go
mkdir -p coverage
for module in $(modules); do
	name=$(basename "$(cd "$module" && go list -m | head -n 1)")
	profile="$root/coverage/$name.out"
	(cd "$module" && go test -coverpkg=./... -coverprofile="$profile" ./... >/dev/null)
	(cd "$module" && go tool cover -html="$profile" -o "$root/coverage/$name.html")
	echo "$module: $(cd "$module" && go tool cover -func="$profile" | tail -n 1 | awk '{ print $NF }')"
done
