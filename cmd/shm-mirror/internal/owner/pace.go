package owner

import (
	"context"
	"time"
)

// Bounds of a window. The smallest one is what a connection of 100 kB/s takes in a third
// of a second.
const (
	firstWindow    = 256 << 10
	smallestWindow = 32 << 10
	largestWindow  = 8 << 20

	quick, slow = 200 * time.Millisecond, time.Second
	longest     = time.Minute
)

// pace bounds how many bytes are on the way to the server. After so many it asks the
// server for a sign, which comes once all before it has arrived, and nothing more is sent
// until then. So what waits in a slow connection is not much older than that sign takes,
// and what changes meanwhile is sent once, with its newest value.
type pace struct {
	ask     func(context.Context) error // waits for the sign
	window  int
	sent    int // bytes since the last sign
	asking  bool
	answers chan answer
}

// answer is a sign, or why there was none, and how long it took.
type answer struct {
	took time.Duration
	err  error
}

func newPace(ask func(context.Context) error) *pace {
	return &pace{ask: ask, window: firstWindow, answers: make(chan answer, 1)}
}

// full reports whether nothing is to be sent now. If so, an answer comes.
func (p *pace) full(ctx context.Context) bool {
	if p.sent < p.window {
		return false
	}
	if !p.asking {
		p.asking = true
		go func() {
			began := time.Now()
			limit, cancel := context.WithTimeout(ctx, longest)
			defer cancel()
			err := p.ask(limit)
			p.answers <- answer{time.Since(began), err}
		}()
	}
	return true
}

// answered takes note of an answer. Without a sign, the connection is lost, and what was
// on the way with it.
func (p *pace) answered(a answer) {
	p.asking, p.sent = false, 0
	switch {
	case a.err != nil:
		p.window = firstWindow
	case a.took < quick:
		p.window = min(2*p.window, largestWindow)
	case a.took > slow:
		p.window = max(p.window/2, smallestWindow)
	}
}
