# Sourced by the other scripts: where the repository is, and what its modules are.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# modules prints the folder of every module in go.work.
modules() {
	go work edit -json | sed -n 's/.*"DiskPath": "\(.*\)".*/\1/p'
}

# in_ci tells whether a missing part is a failure instead of a skip.
in_ci() { [ -n "${CI:-}" ] && [ "${CI:-}" != 0 ] && [ "${CI:-}" != false ]; }
