package postgres_test

import (
	"os"
	"testing"

	"github.com/recallmq/recall/postgres/pgtest"
)

// work is what this binary does instead of tests when it was started for that.
var work func() (did bool)

func TestMain(m *testing.M) {
	if work != nil && work() {
		return
	}
	os.Exit(pgtest.Main(m))
}
