package recall

import "github.com/recallmq/recall/store"

// OpenFaulty is OpenEngine with the store's test seams.
func OpenFaulty(path string, opts *Options, before, after func() error) (Engine, error) {
	o := opts.withDefaults()
	s, err := store.Open(path, &store.Options{
		NoSync: o.Durability == SyncNever, MaxSize: o.MaxFileSize, BeforeCommit: before, AfterCommit: after,
	})
	if err != nil {
		return nil, err
	}
	e, err := newEmbedded(s, o)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return e, nil
}
