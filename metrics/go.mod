module github.com/recallmq/recall/metrics

go 1.25.0

require (
	github.com/VictoriaMetrics/metricsql v0.87.3
	github.com/recallmq/recall v0.0.0
	go.yaml.in/yaml/v3 v3.0.5
)

require (
	github.com/VictoriaMetrics/metrics v1.35.3 // indirect
	github.com/anishathalye/porcupine v1.3.1 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/valyala/fastrand v1.1.0 // indirect
	github.com/valyala/histogram v1.2.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/google/btree v1.1.3 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/netresearch/go-cron v0.9.1 // indirect
	github.com/oklog/ulid/v2 v2.1.1 // indirect
	github.com/prometheus/client_golang v1.24.1
	github.com/prometheus/client_model v0.6.2
	github.com/prometheus/common v0.70.1
	github.com/prometheus/procfs v0.21.1 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace github.com/recallmq/recall => ..
