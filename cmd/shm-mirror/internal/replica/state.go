package replica

import "time"

// lastBeat returns the time that the newest heartbeat had, by the owner's clock.
func (a *agent) lastBeat() int64 { return a.sent }

// noteBeat takes note of a heartbeat. The first one after the start may be old.
func (a *agent) noteBeat(sent int64) {
	first := a.sent == 0
	a.sent = sent
	if first {
		return
	}
	a.heard = time.Now()
	a.st.Heard.Store(a.heard.UnixNano())
	a.st.Living.Store(uint32(max(a.beat.Living, 0)))
	a.st.Dead.Store(uint32(max(a.beat.Dead, 0)))
	a.st.Conflated.Store(a.beat.Conflated)
	a.st.TooLarge.Store(uint64(max(a.beat.TooLarge, 0)))
	a.tell(a.state())
}

// goneEvery is how often the agent asks whether the replica was removed.
const goneEvery = time.Second

// look finds out how the replica is, and says so. The error is errGone if somebody has
// removed it.
func (a *agent) look() error {
	if now := time.Now(); now.Sub(a.checked) > goneEvery {
		a.checked = now
		if gone, err := a.segment.Replaced(); err == nil && gone {
			return errGone
		}
	}
	a.tell(a.state())
	return nil
}

// state returns how the replica is.
func (a *agent) state() string {
	quiet := a.heard.IsZero() || time.Since(a.heard) > silentAfter
	switch {
	case !a.conn.NC.IsConnected():
		return Unconnected
	case a.heard.IsZero() && time.Since(a.began) < silentAfter:
		return Waiting
	case a.heard.IsZero() && !a.known:
		return Waiting
	case quiet:
		return Silent
	case !a.beat.Attached:
		return NoSegment
	case a.beat.Living == 0:
		return NoWriter
	}
	return Live
}

// tell says how the replica is, if that has changed. Values are the newest ones also if
// nobody writes any more, and are not if nobody could say so.
func (a *agent) tell(state string) {
	if a.told == state {
		return
	}
	a.told = state
	fresh := state == Live || state == NoWriter || state == NoSegment
	switch since := a.st.Stale.Load(); {
	case fresh && since != 0:
		a.st.Stale.Store(0)
	case !fresh && since == 0:
		from := time.Now()
		if !a.heard.IsZero() && state != Stopped {
			from = a.heard // they may have changed at any time since then
		}
		a.st.Stale.Store(from.UnixNano())
	}
	a.store(a.st.State, state)
	a.o.Log("%s: %s", a.o.Origin, state)
}
