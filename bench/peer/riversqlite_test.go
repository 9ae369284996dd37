//go:build !386 && !arm && !mips && !mipsle

package peer

import "context"

func init() {
	quietly["River on SQLite with synchronous=OFF"] = func(dir string) (Queue, error) {
		return openRiverSQLite(context.Background(), dir, "synchronous(OFF)")
	}
}
