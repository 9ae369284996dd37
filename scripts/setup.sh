#!/usr/bin/env bash
# setup.sh PART...: makes sure that the named parts are there, and installs with
# apt, as root or by sudo, only those that are missing. The exit status is 1 if
# one cannot be had.
set -euo pipefail

# part -> how to see that it is there, and the packages that bring it
declare -A check=(
	[gcc]='command -v gcc && printf "#include <stdlib.h>\nint main(void){return 0;}" | gcc -xc -o /dev/null -'
	[strace]='command -v strace'
)
declare -A packages=(
	[gcc]='gcc libc6-dev'
	[strace]='strace'
)

need_go() {
	local have
	have=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
	case "$have" in
	'' | 0.* | 1.? | 1.?.* | 1.1[0-9]* | 1.2[0-4]*)
		echo "Recall needs Go 1.25 or newer; ${have:+this is Go $have}${have:-no Go was found}." >&2
		exit 1
		;;
	esac
}

have() { bash -c "${check[$1]}" >/dev/null 2>&1; }

apt_install() {
	local sudo=
	[ "$(id -u)" = 0 ] || sudo='sudo -n'
	command -v apt-get >/dev/null || return 1
	if [ -z "${apt_updated:-}" ]; then
		$sudo apt-get update -qq >&2 || return 1
		apt_updated=1
	fi
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >&2
}

status=0
for part in "$@"; do
	if [ "$part" = go ]; then
		need_go
	elif ! have "$part"; then
		echo "setup: installing ${packages[$part]}" >&2
		# shellcheck disable=SC2086 # several packages
		apt_install ${packages[$part]} && have "$part" || {
			echo "setup: $part cannot be had here" >&2
			status=1
		}
	fi
done
exit $status
