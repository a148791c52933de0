//go:build linux

package main

import (
	"sync"

	"example.org/shm"
)

// guardedText is what a String replaces.
type guardedText struct {
	mu sync.Mutex
	b  [16]byte
	n  int
}

func (g *guardedText) Store(text string) {
	g.mu.Lock()
	g.n = copy(g.b[:], text)
	g.mu.Unlock()
}

func (g *guardedText) Load() string {
	g.mu.Lock()
	text := string(g.b[:g.n])
	g.mu.Unlock()
	return text
}

// sixteen is a text of 16 bytes. It is a variable, so that its length is no
// constant.
var sixteen = "sixteen bytes ok"

var texts = []comparison{
	{
		name: "String.Load, 16 B", rival: "a copy under a sync.Mutex", target: 1.0,
		loops: func(b *bed) (ours, rival loop) {
			v, g := must(shm.NewString(b.segment, "v", 16)), new(guardedText)
			check(v.Store(sixteen))
			g.Store(sixteen)
			return func(n int) {
					var x string
					for range n {
						x = v.Load()
					}
					sinkText = x
				}, func(n int) {
					var x string
					for range n {
						x = g.Load()
					}
					sinkText = x
				}
		},
	}, {
		name: "String.Store, 16 B", rival: "a copy under a sync.Mutex", target: 1.6,
		loops: func(b *bed) (ours, rival loop) {
			v, g, text := must(shm.NewString(b.segment, "v", 16)), new(guardedText), sixteen
			return func(n int) {
					for range n {
						if err := v.Store(text); err != nil {
							panic(failure{err})
						}
					}
				}, func(n int) {
					for range n {
						g.Store(text)
					}
				}
		},
	}, {
		name: "CharArray.Value, 16 of 64 B", rival: "string(b[:16])", target: 1.5,
		note: "Value also finds the NUL, twice, since the text may change meanwhile, and notices a file that was cut off.",
		loops: func(b *bed) (ours, rival loop) {
			v, s := must(shm.NewCharArray(b.segment, "v", 64)), make([]byte, 64)
			check(v.SetValue(sixteen))
			copy(s, sixteen)
			return func(n int) {
					var x string
					for range n {
						x = v.Value()
					}
					sinkText = x
				}, func(n int) {
					var x string
					for range n {
						x = string(s[:16])
					}
					sinkText = x
				}
		},
	}, {
		name: "CharArray.SetValue, 16 of 64 B", rival: "copy(b, s)", target: 2.5,
		note: "SetValue returns an error if another program has cut the file off, where the copy crashes. For that it asks the runtime for a panic and defers a function. Both cost the same whatever the length of the text.",
		loops: func(b *bed) (ours, rival loop) {
			v, s, text := must(shm.NewCharArray(b.segment, "v", 64)), make([]byte, 64), sixteen
			return func(n int) {
					for range n {
						if err := v.SetValue(text); err != nil {
							panic(failure{err})
						}
					}
				}, func(n int) {
					for range n {
						copy(s, text)
					}
				}
		},
	}, {
		name: "CharArray.Raw, 64 B", rival: "bytes.Clone",
		loops: func(b *bed) (ours, rival loop) {
			v, s := must(shm.NewCharArray(b.segment, "v", 64)), make([]byte, 64)
			return func(n int) {
					var x []byte
					for range n {
						x = v.Raw()
					}
					sink += int64(len(x))
				}, func(n int) {
					var x []byte
					for range n {
						x = clone(s)
					}
					sink += int64(len(x))
				}
		},
	},
}

// clone is a copy whose caller does not see how it is made, as Raw's does not.
//
//go:noinline
func clone(b []byte) []byte { return append([]byte{}, b...) }
