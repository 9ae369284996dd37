//go:build !unix

package main

// syncFolder does nothing where folders cannot be synced.
func syncFolder(string) error { return nil }
