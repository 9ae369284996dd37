package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"github.com/google/pprof/profile"
)

// startProfiles begins what the flags ask for and returns what writes it out.
func startProfiles(f flags) (stop func() error, err error) {
	stopCPU := func() error { return nil }
	if f.cpuProfile != "" {
		if stopCPU, err = startCPU(f.cpuProfile); err != nil {
			return nil, err
		}
	}
	if f.mutexProfile != "" {
		runtime.SetMutexProfileFraction(1)
	}
	return func() error {
		return errors.Join(stopCPU(), write("allocs", f.memProfile), write("mutex", f.mutexProfile))
	}, nil
}

func startCPU(path string) (stop func() error, err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error { pprof.StopCPUProfile(); return file.Close() }, nil
}

// write writes one of the runtime's profiles, if a path was given for it.
func write(profile, path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC() // allocations are known as of the last collection
	return errors.Join(pprof.Lookup(profile).WriteTo(file, 0), file.Close())
}

// blockRate is how long somebody has to wait on average, in nanoseconds, to be in
// the profile of waits.
const blockRate = 10_000

// summed are the profiles that the runtime sums up since its start.
var summed = []string{"allocs", "mutex", "block"}

// profiled runs one workload and writes what it alone did to dir, four profiles
// named after it. Without a dir it only runs it.
func profiled(dir, name string, run func() error) (err error) {
	if dir == "" {
		return run()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(blockRate)
	defer runtime.SetBlockProfileRate(0)
	path := func(kind string) string { return filepath.Join(dir, name+"."+kind+".pprof") }
	before, err := sums()
	if err != nil {
		return err
	}
	stop, err := startCPU(path("cpu"))
	if err != nil {
		return err
	}
	if err := errors.Join(run(), stop()); err != nil {
		return err
	}
	after, err := sums()
	if err != nil {
		return err
	}
	for _, kind := range summed {
		if err := writeDifference(path(kind), before[kind], after[kind]); err != nil {
			return fmt.Errorf("profile %s: %w", kind, err)
		}
	}
	return nil
}

// sums reads what the runtime has summed up so far.
func sums() (map[string]*profile.Profile, error) {
	runtime.GC() // allocations are known as of the last collection
	runtime.GC() // and those just made as of the next
	out := map[string]*profile.Profile{}
	for _, kind := range summed {
		var raw bytes.Buffer
		if err := pprof.Lookup(kind).WriteTo(&raw, 0); err != nil {
			return nil, err
		}
		p, err := profile.Parse(&raw)
		if err != nil {
			return nil, err
		}
		out[kind] = p
	}
	return out, nil
}

func writeDifference(path string, before, after *profile.Profile) error {
	before.Scale(-1)
	diff, err := profile.Merge([]*profile.Profile{after, before})
	if err != nil {
		return err
	}
	diff.TimeNanos, diff.DurationNanos = after.TimeNanos, after.TimeNanos-before.TimeNanos
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(diff.Write(file), file.Close())
}
