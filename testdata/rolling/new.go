package main

import "fmt"

// Board is the second version of the type. It has one more counter.
type Board struct {
	Requests uint64
	Bytes    uint64
	Slow     uint64
}

func (b *Board) serve() {
	b.Requests++
	b.Bytes += 100
	b.Slow++
}

func (b Board) String() string {
	return fmt.Sprintf("requests %d bytes %d slow %d", b.Requests, b.Bytes, b.Slow)
}
