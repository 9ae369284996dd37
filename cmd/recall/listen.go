package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listen opens the address, and, for a loopback address, the other loopback
// with the same port where there is one: clients differ in what they make of
// "localhost".
func listen(address string) ([]net.Listener, error) {
	first, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the address %s is in use; choose another with --listen: %w", address, err)
	}
	if err != nil {
		return nil, usageOrFailure(err)
	}
	at, ok := first.Addr().(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return []net.Listener{first}, nil
	}
	other := "::1"
	if at.IP.To4() == nil {
		other = "127.0.0.1"
	}
	second, err := net.Listen("tcp", net.JoinHostPort(other, fmt.Sprint(at.Port)))
	if err != nil {
		return []net.Listener{first}, nil //nolint:nilerr // the second is a courtesy
	}
	return []net.Listener{first, second}, nil
}

// usageOrFailure tells an address that is none from one that cannot be had.
func usageOrFailure(err error) error {
	var bad *net.AddrError
	var unknown *net.DNSError
	if errors.As(err, &bad) || errors.As(err, &unknown) {
		return usageError{err}
	}
	return err
}
