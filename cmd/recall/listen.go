package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"syscall"
)

// errAddressInUse has the words that tools look for in our output.
var errAddressInUse = errors.New("address already in use")

// doors are the listeners of one server. They have one port.
type doors []net.Listener

// openDoors listens on the address and, for a loopback address, on the other
// loopback with the same port, if the machine has it: clients differ in what
// they make of "localhost".
func openDoors(address string, log *slog.Logger) (doors, error) {
	first, err := net.Listen("tcp", address)
	if err != nil {
		return nil, listenError(address, err)
	}
	list := doors{first}
	at, ok := first.Addr().(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return list, nil
	}
	twin := net.JoinHostPort(otherLoopback(at.IP), strconv.Itoa(at.Port))
	second, err := net.Listen("tcp", twin)
	switch {
	case err == nil:
		list = append(list, second)
	case isInUse(err):
		log.Warn("another program has this port on the other loopback; who connects to localhost may reach that", "address", twin)
	}
	return list, nil // the second is a courtesy
}

func otherLoopback(ip net.IP) string {
	if ip.To4() == nil {
		return "127.0.0.1"
	}
	return "::1"
}

// listenError tells an address that is none from one that cannot be had.
func listenError(address string, err error) error { return listenErrorOf("--listen", address, err) }

// listenErrorOf is listenError for the address of a flag.
func listenErrorOf(flag, address string, err error) error {
	if isInUse(err) {
		return fmt.Errorf("%s: %w; choose another with %s", address, errAddressInUse, flag)
	}
	var bad *net.AddrError
	if errors.As(err, &bad) {
		return usageError{err}
	}
	return err
}

func isInUse(err error) bool {
	// Windows has a number of its own, which package syscall does not translate.
	const wsaAddressInUse = syscall.Errno(10048)
	return errors.Is(err, syscall.EADDRINUSE) || runtime.GOOS == "windows" && errors.Is(err, wsaAddressInUse)
}

// url is where a client of this machine finds a server that speaks plain HTTP.
func (d doors) url() string { return "http://" + d.host() }

// host is host and port for a client of this machine.
func (d doors) host() string {
	at, ok := d[0].Addr().(*net.TCPAddr)
	if ok && at.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(at.Port))
	}
	return d[0].Addr().String()
}

// local tells whether only this machine can come in.
func (d doors) local() bool {
	for _, l := range d {
		if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
			return false
		}
	}
	return true
}

func (d doors) close() {
	for _, l := range d {
		_ = l.Close() // nothing was served: there is nothing to lose
	}
}
