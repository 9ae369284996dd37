module github.com/recallmq/recall/bench

go 1.25.0

require github.com/recallmq/recall v0.0.0

replace github.com/recallmq/recall => ..
