package replica

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.org/shm/cmd/shm-mirror/internal/wire"
)

// restore finds out what the agent before this one has stored.
func (a *agent) restore() (err error) {
	if a.commits, err = openNumbers(a.segment, commitsPrefix); err != nil {
		return err
	}
	if a.offsets, err = openNumbers(a.segment, offsetsPrefix); err != nil {
		return err
	}
	for i, text := range strings.Fields(a.st.Epochs.Load()) {
		var e wire.Epoch
		if err := e.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("value %q: %w", "mirror/epochs", err)
		}
		if i == 0 {
			a.epoch, a.known = e, true
		} else {
			a.past = append(a.past, e)
		}
	}
	if heard := a.st.Heard.Load(); heard != 0 && a.st.Stale.Load() == 0 {
		a.st.Stale.Store(heard) // the agent before this one was killed, and nobody listened since
	}
	return a.resetRefused()
}

// resetRefused begins to count anew what is refused.
func (a *agent) resetRefused() error {
	for _, k := range a.parts {
		k.refused = false
	}
	a.refused = 0
	a.st.Refused.Store(0)
	return a.st.Why.Store("")
}

// meta takes note of what the owner's agent says of itself.
func (a *agent) meta(b []byte) {
	var m wire.Meta
	if err := json.Unmarshal(b, &m); err != nil || m.Version != wire.Version {
		a.o.Log("%s: the owner's agent is of another version: %.200q", a.o.Origin, b)
		a.known = false
		return
	}
	if a.known && a.epoch == m.Epoch {
		return
	}
	if slices.Contains(a.past, m.Epoch) {
		a.o.Log("%s: the server has an older state, of an agent that has ended; the values stay", a.o.Origin)
		return
	}
	if err := a.begin(&m); err != nil {
		a.o.Log("%s: a new epoch: %v", a.o.Origin, err)
	}
}

// begin begins an epoch.
func (a *agent) begin(m *wire.Meta) error {
	// An agent killed within this begins the epoch again.
	a.commits.forget()
	// While the owner has no segment, nothing is known of the next one.
	if m.Segment != "" && a.st.Segment.Load() != m.Segment { // its rings begin anew
		for e := range a.segment.Entries() {
			if !isRing(e) || own(e.Name) {
				continue
			}
			_, here, err := e.Bytes(0)
			if err != nil {
				return err
			}
			offset, err := a.offsets.of(a.o.Origin.Key(e.Name, 0, 1))
			if err != nil {
				return err
			}
			offset.Store(-here)
		}
		a.store(a.st.Segment, m.Segment)
	}
	if a.known {
		a.past = a.past.With(a.epoch)
	}
	a.past = slices.DeleteFunc(a.past.With(m.Past...), func(e wire.Epoch) bool { return e == m.Epoch })
	a.epoch, a.known = m.Epoch, true
	text := []string{a.epoch.String()}
	for _, e := range a.past {
		text = append(text, e.String())
	}
	if err := a.st.Epochs.Store(strings.Join(text, " ")); err != nil {
		return err
	}
	return a.resetRefused()
}
