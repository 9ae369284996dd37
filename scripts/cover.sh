#!/usr/bin/env bash
# cover.sh: coverage of every module and of all together, as totals and as
# pages in coverage/. What a module's tests reach in another one is not counted.
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts/setup.sh go
rm -rf coverage
mkdir -p coverage

# total PROFILE NAME writes the page and prints the percentage.
total() {
	go tool cover -html="$1" -o "${1%.out}.html"
	printf '%-16s %s\n' "$2" "$(go tool cover -func="$1" | awk 'END { print $NF }')"
}

echo 'mode: set' >coverage/all.out
for module in $(modules); do
	name=$(tr -c 'a-z\n' '-' <<<"${module#./}")
	[ "$module" = . ] && name=recall
	profile=$root/coverage/$name.out
	within "$module" go test -coverpkg=./... -coverprofile="$profile" ./... >"coverage/$name.log" 2>&1 || {
		grep -v 'coverage:' "coverage/$name.log" >&2
		exit 1
	}
	total "$profile" "$module"
	tail -n +2 "$profile" >>coverage/all.out
done
total coverage/all.out 'all modules'
