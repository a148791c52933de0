package main

// Board is the first version of the type.
type Board struct {
	Requests uint64
	Bytes    uint64
}

func (b *Board) serve() {
	b.Requests++
	b.Bytes += 100
}
