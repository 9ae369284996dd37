//go:build 386 || arm || mips || mipsle

package peer

// on64 are the embedded peers that are only built for 64 bits.
var on64 []*Peer
