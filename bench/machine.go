package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// machine is what a reader needs to know of where the numbers come from. What
// a platform does not tell stays empty.
type machine struct {
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Kernel     string `json:"kernel,omitempty"`
	CPU        string `json:"cpu,omitempty"`
	Cores      int    `json:"cores"`
	MemoryMiB  int    `json:"memory_mib,omitempty"`
	Load       string `json:"load,omitempty"` // at the start: what else was running
	FileSystem string `json:"file_system,omitempty"`
	GoVersion  string `json:"go"`
	Recall     string `json:"recall,omitempty"` // version or commit
	GOGC       string `json:"gogc"`
}

func describeMachine(dir string) machine {
	m := machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.GOMAXPROCS(0),
		GoVersion: runtime.Version(), Recall: buildVersion(), GOGC: os.Getenv("GOGC"),
	}
	if m.GOGC == "" {
		m.GOGC = "100"
	}
	addMachineDetails(&m, dir)
	return m
}

// buildVersion returns the commit that was built, if the build knows it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	version := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			version = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			version += " and changes"
		}
	}
	return version
}

// inMemory tells whether a file system syncs nowhere.
func (m machine) inMemory() bool { return m.FileSystem == "tmpfs" || m.FileSystem == "ramfs" }
