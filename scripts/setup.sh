#!/usr/bin/env bash
# setup.sh PART...: makes sure that the named parts are there, and installs with
# apt, as root or by sudo, only those that are missing. Prints the parts that
# cannot be had, one a line, and then exits with 1. The part "go" is only
# looked at: too old a Go is one sentence and the exit status 2.
set -euo pipefail

# part | how to see that it is there | the packages that bring it
parts='
gcc      | links_c                 | gcc libc6-dev
strace   | command -v strace       | strace
node     | runs_npm                | nodejs npm
chromium | has_chromium            | chromium fonts-dejavu-core
wrk      | command -v wrk          | wrk
postgres | has_postgres            | postgresql
redis    | command -v redis-server | redis-server
'

# A compiler without the headers of the C library is not enough for -race.
links_c() {
	local out status=0
	out=$(mktemp)
	printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | gcc -xc -o "$out" - || status=1
	rm -f "$out"
	return $status
}

# npm comes with Node, except from Debian.
runs_npm() { command -v node && command -v npm; }

# Any Chromium will do. dashboard/browser looks for the same names.
has_chromium() { [ -n "${CHROME:-}" ] || command -v chromium || command -v chromium-browser || command -v google-chrome; }

# Debian keeps the server off the path. postgres/pgserver looks in the same places.
has_postgres() { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb 2>/dev/null | grep .; }

need_go() {
	local have
	# Asked outside the repository, where no go line can send for another Go.
	have=$(cd / && GOTOOLCHAIN=local GOWORK=off go env GOVERSION 2>/dev/null) || have=
	case "${have#go}" in
	'')
		echo "Recall needs Go 1.25 or newer, and no Go was found." >&2
		exit 2
		;;
	0.* | 1 | 1.[0-9] | 1.[0-9].* | 1.[0-9][a-z]* | 1.1[0-9]* | 1.2[0-4]*)
		echo "Recall needs Go 1.25 or newer; this is ${have}." >&2
		exit 2
		;;
	esac
}

# row PART prints a column of the table: 2 the check, 3 the packages.
row() {
	awk -F '|' -v part="$1" -v column="$2" \
		'{ name = $1; gsub(/ /, "", name) } name == part { print $column; found = 1 } END { exit !found }' <<<"$parts"
}

have() { eval "$(row "$1" 2)" >/dev/null 2>&1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo "$@" # may ask for a password
	else
		sudo -n "$@"
	fi
}

# apt_install brings packages. The lists are refreshed once, before the first;
# when that fails, old lists may still do.
apt_install() {
	command -v apt-get >/dev/null || return 1
	if [ -z "${refreshed:-}" ]; then
		refreshed=1
		as_root apt-get update -qq || true
	fi
	local status=0 policy=
	policy=$(no_services) || true
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" || status=$?
	[ -z "$policy" ] || as_root rm -f "$policy"
	return $status
}

# no_services keeps what is installed from starting as a service of the machine:
# a benchmark starts its own. It prints the file to remove afterwards, if the
# machine had no such rule.
no_services() {
	local policy=/usr/sbin/policy-rc.d
	[ ! -e "$policy" ] || return 1
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod +x "$policy"
	echo "$policy"
}

missing=0
for part in "$@"; do
	if [ "$part" = go ]; then
		need_go
		continue
	fi
	packages=$(row "$part" 3) || {
		echo "setup: there is no part called $part" >&2
		exit 2
	}
	have "$part" && continue
	echo "setup: installing" $packages >&2
	apt_install $packages >&2 || true
	if ! have "$part"; then
		echo "setup: $part cannot be had here" >&2
		echo "$part"
		missing=1
	fi
done
exit $missing
