package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
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
