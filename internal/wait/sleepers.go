package wait

import "sync"

// Sleepers has goroutines that sleep in Go until something ends. The zero value is
// empty. It is safe for concurrent use.
type Sleepers struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{}
}

// Join makes WakeAll send a token to wake, a channel of one token, until the caller calls
// leave. It does nothing for a goroutine in a bubble, whose channel is not for others:
// that one looks by itself.
func (s *Sleepers) Join(wake chan struct{}) (leave func()) {
	if InBubble() != nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[chan struct{}]struct{}{}
	}
	s.all[wake] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, wake)
	}
}

// WakeAll wakes all.
func (s *Sleepers) WakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wake := range s.all {
		Signal(wake)
	}
}
