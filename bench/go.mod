module github.com/recallmq/recall/bench

go 1.25.0

require github.com/recallmq/recall v0.0.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/recallmq/recall => ..
