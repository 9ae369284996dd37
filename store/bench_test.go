package store

import (
	"fmt"
	"testing"
)

// benchRows are rows as publishing prepares them: the records are sealed with
// their numbers within the measured loop.
func benchRows(n int) (records [][]byte, body []byte) {
	for i := range n {
		records = append(records, AppendRecord(nil, &Record{
			Wall: 1_700_000_000_000, Due: 1_700_000_000_000 + int64(i), Retries: 3,
			Method: []byte("POST"), URL: []byte("https://example.com/hooks/orders"),
			Labels: [][]byte{fmt.Appendf(nil, "order:%d", i)},
		}))
	}
	body = AppendBody(nil, &Body{
		Header:  []Field{{[]byte("Content-Type"), []byte("application/json")}},
		Payload: make([]byte, 200),
	})
	return records, body
}

// putRows publishes rows from the head on.
func putRows(tb testing.TB, s *Store, records [][]byte, body []byte) {
	tx, err := s.Begin(Bound{Rows: len(records), Bytes: int64(len(records) * (len(records[0]) + len(body) + 16))})
	if err != nil {
		tb.Fatal(err)
	}
	defer tx.Rollback()
	h := s.Head()
	for i, record := range records {
		SealRecord(record, h.NextSeq, [16]byte{byte(i)})
		if err := tx.Put(Live, h.NextSeq, record, body); err != nil {
			tb.Fatal(err)
		}
		h.NextSeq++
	}
	if err := tx.SetHead(h); err != nil {
		tb.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkPut1000 commits 1,000 messages at a time, without waiting for the
// disk.
func BenchmarkPut1000(b *testing.B) {
	s := open(b, path(b), quick)
	records, body := benchRows(1000)
	b.ReportAllocs()
	for b.Loop() {
		putRows(b, s, records, body)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}

// BenchmarkLoad reads 100,000 rows.
func BenchmarkLoad(b *testing.B) {
	const rows = 100_000
	s := open(b, path(b), quick)
	records, body := benchRows(1000)
	for range rows / len(records) {
		putRows(b, s, records, body)
	}
	b.ReportAllocs()
	var rec Record
	for b.Loop() {
		err := s.Load(LoadFuncs{
			Row: func(_ Table, seq uint64, record []byte, _ State) error { return DecodeRecord(seq, record, &rec) },
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

// BenchmarkViewBatch reads the rows of 100 neighbours in one View, as claims do.
func BenchmarkViewBatch(b *testing.B) {
	const rows, batch = 20_000, 100
	s := open(b, path(b), quick)
	records, body := benchRows(1000)
	for range rows / len(records) {
		putRows(b, s, records, body)
	}
	b.ReportAllocs()
	var rec Record
	var decoded Body
	at := uint64(0)
	for b.Loop() {
		err := s.View(func(v *View) error {
			for i := range uint64(batch) {
				seq := (at+i)%rows + 1
				row, err := v.Record(Live, seq)
				if err != nil {
					return err
				}
				if err := DecodeRecord(seq, row, &rec); err != nil {
					return err
				}
				if row, err = v.Body(Live, seq); err != nil {
					return err
				}
				if err := DecodeBody(row, &decoded); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		at += 7919
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/row")
}
