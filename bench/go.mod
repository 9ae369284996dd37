module github.com/recallmq/recall/bench

go 1.25.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/recallmq/recall v0.0.0
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/google/btree v1.1.3 // indirect
	github.com/oklog/ulid/v2 v2.1.1 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/recallmq/recall => ..
