package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
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
	// SyncMS is the median of appending 4 KiB and fdatasync, at the start.
	SyncMS float64 `json:"fdatasync_p50_ms,omitempty"`
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
	lat := newLatencies()
	if _, err := appendAndSync(filepath.Join(dir, "append"), syncWindow, lat); err == nil {
		m.SyncMS = ms(lat.quantiles().P50)
	}
	return m
}

// syncWindow is how long every run looks at the disk before it begins.
const syncWindow = 200 * time.Millisecond

// buildVersion returns the commit that was built, if the build knows it, or else that of the
// folder, since go run does not note it.
func buildVersion() string {
	if version := stampedVersion(); version != "" {
		return version
	}
	text, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func stampedVersion() string {
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
