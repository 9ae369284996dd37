package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func addMachineDetails(m *machine, dir string) {
	m.Kernel = firstLine("/proc/sys/kernel/osrelease")
	m.CPU = fieldOf("/proc/cpuinfo", "model name")
	m.Load, _, _ = strings.Cut(firstLine("/proc/loadavg"), " ")
	if kib, err := strconv.Atoi(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryMiB = kib >> 10
	}
	m.FileSystem = fileSystemOf(dir)
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(line)
}

// fieldOf returns the value of the first "name : value" line of a file.
func fieldOf(path, name string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystemOf returns the type of the mount that holds dir: the one with the
// longest path, and of those the one mounted last.
func fileSystemOf(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	longest, kind := -1, ""
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < longest {
			continue
		}
		if at := strings.TrimSuffix(f[1], "/"); dir == at || strings.HasPrefix(dir, at+"/") {
			longest, kind = len(f[1]), f[2]
		}
	}
	return kind
}

// writtenBytes returns what this process has handed to the kernel in writes.
// bbolt writes each page of a commit once and syncs, so that is what goes to
// the disk, without the file system's own. The kernel's count of bytes sent to
// storage says more than is true: it counts the whole of a large folio in the
// page cache for each page that gets dirty.
func writtenBytes() (n int64, ok bool) {
	n, err := strconv.ParseInt(fieldOf("/proc/self/io", "wchar"), 10, 64)
	return n, err == nil
}

// syncData is the call that bbolt makes here too: it leaves out timestamps.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

// syncFileSystems writes back what earlier work left dirty, so that the next
// workload does not pay for it.
func syncFileSystems() { syscall.Sync() }
