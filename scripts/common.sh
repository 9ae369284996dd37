# Sourced by the other scripts: where the repository is, and what its modules are.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# The Go that is here, never one that the go command would fetch.
export GOTOOLCHAIN=local
export GOWORK="$root/go.work"

# modules prints the folder of every module in go.work.
modules() {
	go work edit -json "$GOWORK" | sed -n 's/.*"DiskPath": "\(.*\)".*/\1/p'
}

# in_ci tells whether a missing part is a failure instead of a skip.
# internal/parttest says the same in Go.
in_ci() { [ -n "${CI:-}" ] && [ "$CI" != 0 ] && [ "$CI" != false ]; }

# within DIR COMMAND... runs a command in a folder.
within() { (cd "$1" && shift && "$@"); }
