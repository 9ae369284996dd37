package postgres_test

import (
	"testing"

	"github.com/recallmq/recall/internal/mutanttest"
)

const root = ".."

func TestMutantsApply(t *testing.T) { mutanttest.Apply(t, root, mutants) }

func TestMutantsDie(t *testing.T) { mutanttest.Die(t, root, mutants) }

// mutants are ways to break this engine, each of which some test must notice; see
// internal/mutants.
var mutants = []mutanttest.Mutant{
	{
		Name: "walk over pending messages only",
		File: "postgres/filter.go",
		Old:  "m.shard = $1 AND m.state < 2 AND NOT m.requested\")\n	w.constant(f)",
		New:  "m.shard = $1 AND m.state = 0 AND NOT m.requested\")\n	w.constant(f)",
		Pkg:  "./postgres", Run: "TestWalkMeetsClaim", Always: true,
	},
	{
		Name: "walk past what others have locked",
		File: "postgres/bulk.go",
		Old:  "locking := \" FOR UPDATE OF m\"",
		New:  "locking := \" FOR UPDATE OF m SKIP LOCKED\"",
		Pkg:  "./postgres", Run: "TestWalkMeetsClaim", Always: true,
	},
	{
		Name: "walk in any order",
		File: "postgres/bulk.go",
		Old:  "		ORDER BY m.id LIMIT ` + strconv.Itoa(limit)",
		New:  "		ORDER BY m.id DESC LIMIT ` + strconv.Itoa(limit)",
		Pkg:  "./postgres", Run: "TestWalkMeetsClaim", Always: true,
	},
	{
		Name: "let any lease end an attempt",
		File: "postgres/finish.go",
		Old:  "AND m.state = 1 AND m.epoch = x.epoch AND m.number = x.number ORDER BY m.id`",
		New:  "AND m.state = 1 AND x.epoch <> 0 AND x.number <> 0 ORDER BY m.id`",
		Pkg:  "./postgres", Run: "TestTwoOwners", Always: true,
	},
	{
		Name: "make a transaction again whose commit was not answered",
		File: "postgres/commit.go",
		Old:  "if there = err == nil && at > 0; there {\n",
		New:  "if there = err == nil && at == 7; there {\n",
		Pkg:  "./postgres", Run: "TestCutCommit",
	},
	{
		Name: "walk on into what a transaction publishes meanwhile",
		File: "postgres/bulk.go",
		Old:  "OR m.seq < 0 AND m.seq >= -",
		New:  "OR m.seq <= 0 AND m.seq >= -",
		Pkg:  "./postgres", Run: "TestWalkBesideOpenTransaction",
	},
	{
		Name: "number a message twice",
		File: "postgres/apart.go",
		Old:  "WHERE shard = $1 AND seq = 0 ORDER BY id FOR UPDATE SKIP LOCKED) l",
		New:  "WHERE shard = $1 AND seq <= 0 ORDER BY id FOR UPDATE SKIP LOCKED) l",
		Pkg:  "./postgres", Run: "TestWalkKeepsItsBounds",
	},
	{
		Name: "end every call that shared with one that was refused",
		File: "postgres/arrive.go",
		Old:  "			continue\n",
		New:  "			return p.refused\n",
		Pkg:  "./postgres", Run: "TestSharedTransaction",
	},
	{
		Name: "call a lease lost whose message is locked",
		File: "postgres/finish.go",
		Old:  "			c.again = true",
		New:  "			return recall.ErrLeaseLost",
		Pkg:  "./postgres", Run: "TestSharedFinish",
	},
	{
		Name: "count a guard in a transaction of its own",
		File: "postgres/bulk.go",
		Old:  "	rows, err := b.lock(u, b.e.opts.MaxGuarded+1)\n",
		New:  "	b.req.DryRun = true\n	rows, err := b.lock(u, b.e.opts.MaxGuarded+1)\n	b.req.DryRun = false\n",
		Pkg:  "./postgres", Run: "TestGuardIsOneTransaction",
	},
	{
		Name: "commit without the key by which the outcome is found out",
		File: "postgres/commit.go",
		Old:  "const insertCall = `INSERT INTO @calls (shard, call, at_us) VALUES ($1, $2, ` + clockUS + `)`",
		New:  "const insertCall = `SELECT FROM @calls WHERE shard = $1 AND call = $2`",
		Pkg:  "./postgres", Run: "TestCutCommit", Always: true,
	},
	{
		Name: "take leases from owners that live",
		File: "postgres/reap.go",
		Old:  "	AND NOT EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = m.epoch)`\n",
		New:  "	AND m.epoch <> 0`\n",
		Pkg:  "./postgres", Run: "TestProcesses",
	},
	{
		Name: "go on behind the blocker",
		File: "postgres/bulk.go",
		Old:  "			s.blocker, s.end = &id, true\n			break\n",
		New:  "			s.blocker, s.end = &id, true\n			continue\n",
		Pkg:  "./postgres", Run: "TestProcesses",
	},
	{
		Name: "call a call off that is cut off, though it was committed",
		File: "postgres/commit.go",
		Old:  "	return u.e.outcome(u.ctx, *u.call, u.began, err, on)\n",
		New:  "	_ = on\n	return err\n",
		Pkg:  "./postgres", Run: "TestCutEverywhere",
	},
	{
		Name: "hold a connection while another one is asked what became of its commit",
		File: "postgres/commit.go",
		Old:  "		release()\n",
		New:  "",
		Pkg:  "./postgres", Run: "TestCutLastConnection",
	},
	{
		Name: "pass by a queue that a claim looks into",
		File: "postgres/rooms.go",
		Old:  "`WITH l AS MATERIALIZED (SELECT queue, look_ms FROM @queues WHERE shard = $1 AND queue = ANY($2::text[]) ORDER BY queue FOR UPDATE)",
		New:  "`WITH l AS MATERIALIZED (SELECT queue, look_ms FROM @queues WHERE shard = $1 AND queue = ANY($2::text[]) AND look_ms <> 0 ORDER BY queue FOR UPDATE)",
		Pkg:  "./postgres", Run: "TestRoomIsLookedIntoAgain",
	},
	{
		Name: "have everybody wait for who stands still",
		File: "postgres/unit.go",
		Old:  "		tx.first = u.bound\n",
		New:  "		_ = u.bound\n",
		Pkg:  "./postgres", Run: "TestStandsStill",
	},
	{
		Name: "forget a call whose end could not be written",
		File: "postgres/bulk.go",
		Old:  "		b.e.endLater(b)\n	}\n	return err\n",
		New:  "		_ = b.e.endLater\n	}\n	return err\n",
		Pkg:  "./postgres", Run: "TestEndWrittenLater",
	},
	{
		Name: "walk over what was published after the call began",
		File: "postgres/bulk.go",
		Old:  "	w.bounded(b.asOf, b.late, b.within, b.unnumbered)\n",
		New:  "	w.bounded(1<<62, b.late, b.within, b.unnumbered)\n",
		Pkg:  "./postgres", Run: "TestEngine/(CancelMatching|Wait|Linearizable)",
	},
	{
		Name: "take the row of a question for that of the commit",
		File: "postgres/commit.go",
		Old:  "VALUES ($1, $2, -` + clockUS + `)",
		New:  "VALUES ($1, $2, ` + clockUS + `)",
		Pkg:  "./postgres", Run: "TestCutQuestion",
	},
	{
		Name: "take more than a guard has counted",
		File: "postgres/bulk.go",
		Old:  "			b.started()\n		}\n		return rows, true, err\n",
		New:  "			b.started()\n			rows, err = b.lock(u, b.e.opts.MaxGuarded+1)\n		}\n		return rows, true, err\n",
		Pkg:  "./postgres", Run: "TestGuardTakesWhatItCounted",
	},
	{
		Name: "give out leases of an owner that was late",
		File: "postgres/claim_lease.go",
		Old:  "WITH ORDINALITY AS x (id, k) WHERE ` + holds + `), ` + leased",
		New:  "WITH ORDINALITY AS x (id, k)), ` + leased",
		Pkg:  "./postgres", Run: "TestLapsedInClaim",
	},
	{
		Name: "lock rooms in a transaction of the program",
		File: "postgres/rooms.go",
		Old:  "	if b.u.apart || b.u.slow {\n		r.openLater(b)\n		return\n",
		New:  "	if b.u.apart || b.u.slow {\n		_ = r.openLater\n",
		Pkg:  "./postgres", Run: "TestNobodyWaitsForCancelTx",
	},
	{
		Name: "publish a duplicate",
		File: "postgres/dedup.go",
		Old:  "	return first, ok && past < r.window && -past < r.window\n",
		New:  "	return first, ok && past < 0 && -past < r.window\n",
		Pkg:  "./postgres", Run: "TestLockstep|TestEngine/Deduplication",
	},
}
