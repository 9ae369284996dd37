// Package mutants_test keeps a list of ways to break Recall, each of which some test
// must notice: the proof that the tests of the guarantees can fail. The tests of this
// package check that every one still applies, and at full size (RECALL_SOAK) run the
// tests that are to turn red on each of them. Module postgres has a list of its own.
package mutants_test

import "github.com/recallmq/recall/internal/mutanttest"

// all is the list. A mutant that survives is a missing test.
var all = []mutanttest.Mutant{
	{
		Name: "skip the in-flight check",
		File: "embedded_bulk.go",
		Old:  "c.blocker, c.blockerID = seq, id\n		return c.enough(seq), nil",
		New:  "_ = id\n		return goOn, nil",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/CancelMatching",
	},
	{
		Name: "walk in the wrong order",
		File: "walk.go",
		Old:  "	for _, seq := range seqs {\n		w.pos = seq + 1\n",
		New:  "	if n := len(seqs); n > 0 {\n		defer func(end uint64) { w.pos = max(w.pos, end) }(seqs[n-1] + 1)\n	}\n	for _, seq := range slices.Backward(seqs) {\n		w.pos = seq + 1\n",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(CancelMatching|Policy)",
	},
	{
		Name: "drop the as-of boundary",
		File: "plan.go",
		Old:  "q.lo, q.hi, q.asOf = 1, ix.visible, ix.visible",
		New:  "q.lo, q.hi, q.asOf = 1, 1<<47, ix.visible",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(CancelMatching|Wait|Linearizable)",
	},
	{
		Name: "leave what was unlinked in the counts",
		File: "index.go",
		Old:  "		ix.countOff(e)\n",
		New:  "		e.flags &^= flagUncounted\n",
		Pkg:  ".", Run: "TestMarkedEntries",
	},
	{
		Name: "let a message leave its queue before its callbacks are there",
		File: "embedded_commit.go",
		Old:  "	e.applyInserts(c.turn.inserts) // before messages are gone: who looks whether a queue goes on knows of its callbacks\n	e.settleFinished(c.turn.finished)\n",
		New:  "	e.settleFinished(c.turn.finished)\n	e.applyInserts(c.turn.inserts)\n",
		Pkg:  ".", Run: "TestQueueWaitsForCallbackFromTheFirstMoment",
	},
	{
		Name: "acknowledge before the commit",
		File: "embedded_commit.go",
		Old:  "			c.commit()\n			c.acknowledge()\n",
		New:  "			c.acknowledge()\n			c.commit()\n",
		Pkg:  ".", Run: "TestAcknowledgedAfterSync|TestFailEveryCommit",
	},
	{
		Name: "forget to undo the marks of a refused commit",
		File: "embedded_bulk.go",
		Old:  "		} else {\n			c.undo()\n		}\n		return err\n",
		New:  "		} else {\n			c.abandon()\n		}\n		return err\n",
		Pkg:  ".", Run: "TestFull|TestRefused",
	},
	{
		Name: "count a message twice",
		File: "embedded_bulk.go",
		Old:  "	c.result.Cancelled += len(c.seqs)\n	c.result.Requested += len(c.asked)\n	c.seqs",
		New:  "	c.result.Cancelled += len(c.seqs) + len(c.asked)\n	c.result.Requested += len(c.asked)\n	c.seqs",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(Policy|Lockstep)",
	},
	{
		Name: "drop the segment of a restored message",
		File: "embedded_restore.go",
		Old:  "		for _, b := range w.parts {\n			e.undo.state(b, burialUnlinked)\n			delete(e.marks, b.mark)\n		}\n		e.undo.forget(w.op)\n",
		New:  "		for _, b := range w.parts {\n			_, _ = e.send(context.Background(), &maintWork{step: func(tx *store.Tx) error { return tx.Finish(store.Live, b.seqs) }}, false)\n			e.undo.state(b, burialUnlinked)\n			delete(e.marks, b.mark)\n		}\n		e.undo.forget(w.op)\n",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(Undo|Lockstep)",
	},
	{
		Name: "free an interned value on a provisional count",
		File: "values.go",
		Old:  "	case of.held == 0:",
		New:  "	case t.live[n] == 0:",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(CancelMatching|Undo|Lockstep)",
	},
	{
		Name: "reuse a number after the newest segment was dropped",
		File: "store/load.go",
		Old:  "s.head.NextSeq = max(s.head.NextSeq, l.highest[Live]+1)",
		New:  "s.head.NextSeq = l.highest[Live] + 1",
		Pkg:  ".", Run: "TestNumbersAreNotUsedAgain",
	},
	{
		Name: "replay the journal out of commit order",
		File: "store/state.go",
		Old:  "		case a.commit < b.commit:\n			return -1\n		case a.commit > b.commit:\n			return 1\n",
		New:  "		case a.commit < b.commit:\n			return 1\n		case a.commit > b.commit:\n			return -1\n",
		Pkg:  "./store", Run: ".",
	},
	{
		Name: "answer a walk before a finishing message's commit",
		File: "embedded_marks.go",
		Old:  "if seqs = e.stillEnding(seqs); len(seqs) == 0 {",
		New:  "if true {",
		Pkg:  ".", Run: "TestAnswersAfterTheCommit",
	},
	{
		Name: "deliver what was cancelled with Sticky again after a crash",
		File: "embedded_load.go",
		Old:  "if st.Requested || st.Claimed > st.Attempts && attempts > rec.Retries {",
		New:  "if st.Claimed > st.Attempts && attempts > rec.Retries {",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(Reopen|Policy)",
	},
	{
		Name: "claim what a cancellation has marked",
		File: "index.go",
		Old:  "return e.phase == phasePending && e.due() == due && e.flags&flagHeld == 0",
		New:  "return (e.phase == phasePending || e.phase == phaseMarked) && e.due() == due && e.flags&flagHeld == 0",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/(CancelMatching|Cancel)$",
	},
	{
		Name: "let a guard pass",
		File: "engine.go",
		Old:  "if !g.Set || found >= g.Least && found <= g.Most {",
		New:  "if !g.Set || found >= g.Least {",
		Pkg:  ".", Run: "TestEmbedded/SyncNever/Guard",
	},
	{
		Name: "never seal a segment before its numbers are used up",
		File: "store/sweep.go",
		Old:  "seg.bytes >= bytes {",
		New:  "seg.bytes >= bytes && seg.stored >= segmentSize {",
		Pkg:  ".", Run: "TestFullOfLargeMessages",
	},
	{
		Name: "write to a file that was refused as damaged",
		File: "embedded.go",
		Old:  "_ = s.Abandon()",
		New:  "_ = s.Close()",
		Pkg:  ".", Run: "TestRefusedFileStaysAsItIs",
	},
	{
		Name: "let a damaged page end the process",
		File: "store/guard.go",
		Old:  "	panicked, err := caught(fn)\n",
		New:  "	panicked, err := false, fn()\n",
		Pkg:  "./store", Run: "TestDamageWhileOpen",
	},
	{
		Name: "leave the marks of a transaction that was rolled back",
		File: "embedded_tx.go",
		Old:  "	for _, b := range x.bulks {\n		b.undo()\n	}\n",
		New:  "	for _, b := range x.bulks {\n		b.abandon()\n	}\n",
		Pkg:  ".", Run: "InTransaction|TestTransactionLeavesNothing",
	},
	{
		Name: "let pages of other origins use the dashboard",
		File: "dashboard/security.go",
		Old:  "	if err := h.cross.Check(r); err != nil {\n",
		New:  "	if err := h.cross.Check(r); err != nil && r == nil {\n",
		Pkg:  "./dashboard", Run: "TestCrossOrigin",
	},
	{
		Name: "let those who may only look change something in the dashboard",
		File: "dashboard/security.go",
		Old:  "	if !v.write {\n",
		New:  "	if !v.write && v == nil {\n",
		Pkg:  "./dashboard", Run: "TestReadOnly",
	},
	{
		Name: "cancel another number of messages than was confirmed",
		File: "dashboard/runs.go",
		Old:  "recall.ExpectExactly(r.Call.Expect), ",
		New:  "",
		Pkg:  "./dashboard", Run: "TestConfirmTheNumber",
	},
}
