package replica

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
)

// States of a replica, as its value mirror/state has them.
const (
	Live        = "live"              // the newest values arrive
	Waiting     = "waiting"           // the owner's agent was never heard of
	Unconnected = "no connection"     // this agent has no connection to NATS
	Silent      = "owner silent"      // the owner's agent, or its host, says nothing any more
	NoSegment   = "no segment"        // the owner's agent lives, and the segment is gone
	NoWriter    = "no writer"         // the segment is there, and no process that ever locked lives
	Stopped     = "agent has stopped" // nobody keeps the replica
)

// Status is the values of a replica that say how it is. Programs can await them.
type Status struct {
	Agent     *shm.Mutex         `shm:"mirror/agent,help=held by the agent that keeps this replica"`
	Origin    shm.String         `shm:"mirror/origin,len=512,help=HOST/SEGMENT of the owner"`
	State     shm.String         `shm:"mirror/state,len=32,help=live or why not"`
	Stale     shm.Value[int64]   `shm:"mirror/stale since,hint=time,help=when the values ceased to be the newest; 0 while they are"`
	Heard     shm.Value[int64]   `shm:"mirror/heard,hint=time,help=when the owner's agent was heard last"`
	Segment   shm.String         `shm:"mirror/segment,len=64,help=identity of the segment of the owner"`
	Epochs    shm.String         `shm:"mirror/epochs,len=600,help=the current run of the owner's agent and those before it"`
	Living    shm.Atomic[uint32] `shm:"mirror/living,hint=gauge,help=processes at the owner that live"`
	Dead      shm.Atomic[uint32] `shm:"mirror/dead,hint=gauge,help=processes at the owner that died and still hold a lock"`
	Applied   shm.Atomic[uint64] `shm:"mirror/applied,hint=counter,help=changes that were applied"`
	Conflated shm.Atomic[uint64] `shm:"mirror/conflated,hint=counter,help=commits of the owner that were left out because a newer one came"`
	TooLarge  shm.Atomic[uint64] `shm:"mirror/too large,hint=gauge,help=values at the owner that do not fit in a message"`
	Missed    shm.Atomic[uint64] `shm:"mirror/missed,hint=counter,help=values of rings that never arrived"`
	Refused   shm.Atomic[uint64] `shm:"mirror/refused,hint=gauge,help=values that cannot be kept here"`
	Why       shm.String         `shm:"mirror/why,len=2000,help=the first of them and the reason"`
	Lag       shm.Histogram      `shm:"mirror/lag,unit=s,bounds=0.001;0.002;0.005;0.01;0.02;0.05;0.1;0.2;0.5;1;2;5;10,help=from the look at the owner to the store here, by the clocks of both"`
}

const (
	agentName     = "mirror/agent"
	commitsPrefix = "mirror/commits " // a number follows
	offsetsPrefix = "mirror/offsets "
)

// own reports whether a value of a replica is the agent's and not a copy.
func own(name string) bool { return strings.HasPrefix(name, "mirror/") }

// Errors of an agent that starts.
var (
	ErrNoReplica = errors.New("the segment exists and is no replica")
	ErrKept      = errors.New("another agent keeps this replica")
)

// open opens or makes the replica, and makes this process its keeper.
func open(name string, o wire.Origin) (s *shm.Segment, st *Status, err error) {
	s, err = shm.Open(name, &shm.Options{Mode: 0o644})
	if err != nil {
		return nil, nil, err
	}
	st, err = keep(s, name, o)
	if err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	return s, st, nil
}

// keep makes this process the keeper of a replica.
func keep(s *shm.Segment, name string, o wire.Origin) (*Status, error) {
	if _, found := s.Lookup(agentName); !found {
		for range s.Entries() {
			return nil, fmt.Errorf("%s: %w; name another one with -as", shm.Path(name), ErrNoReplica)
		}
	}
	st := new(Status)
	if err := shm.Bind(s, st); err != nil {
		return nil, err
	}
	if !st.Agent.TryLock() {
		e, _ := s.Lookup(agentName)
		l, _ := e.Lock()
		return nil, fmt.Errorf("%s: %w: %s", shm.Path(name), ErrKept, l)
	}
	st.Agent.Abandoned() // a killed agent has left nothing half-done
	if was := st.Origin.Load(); was != "" && was != o.String() {
		st.Agent.Unlock()
		return nil, fmt.Errorf("%s: %w of %s, but of %s; name another one with -as", shm.Path(name), ErrNoReplica, o, was)
	}
	return st, st.Origin.Store(o.String())
}

// Report is what a replica says of itself.
type Report struct {
	Replica   string     `json:"replica"`
	Origin    string     `json:"origin"`
	State     string     `json:"state"`
	Stale     *time.Time `json:"stale_since,omitempty"`
	Heard     *time.Time `json:"heard,omitempty"`
	Lag       float64    `json:"lag_p99_seconds"` // upper bound of the bucket; of all since the replica was made
	Values    int        `json:"values"`
	Applied   uint64     `json:"applied"`
	Conflated uint64     `json:"conflated"`
	TooLarge  uint64     `json:"too_large"`
	Missed    uint64     `json:"missed"`
	Refused   uint64     `json:"refused"`
	Why       string     `json:"why,omitempty"`
	Living    uint32     `json:"living"`
	Dead      uint32     `json:"dead"`
	Commits   []Commit   `json:"commits,omitempty"` // if Commits was asked
}

// Look reads the report of a replica. The error wraps ErrNoReplica if the segment is none.
func Look(name string) (Report, error) {
	s, err := shm.Open(name, &shm.Options{ReadOnly: true})
	if err != nil {
		return Report{}, err
	}
	defer s.Close()
	if _, found := s.Lookup(agentName); !found {
		return Report{}, fmt.Errorf("%s: %w", shm.Path(name), ErrNoReplica)
	}
	var st Status
	if err := shm.Bind(s, &st); err != nil {
		return Report{}, err
	}
	r := Report{
		Replica: name, Origin: st.Origin.Load(), State: st.State.Load(), Applied: st.Applied.Load(), Conflated: st.Conflated.Load(),
		TooLarge: st.TooLarge.Load(), Missed: st.Missed.Load(), Refused: st.Refused.Load(), Why: st.Why.Load(), Living: st.Living.Load(), Dead: st.Dead.Load(),
		Stale: timeOf(st.Stale.Load()), Heard: timeOf(st.Heard.Load()), Lag: quantile(st.Lag.Load(), 0.99),
	}
	for e := range s.Entries() {
		if !own(e.Name) {
			r.Values++
		}
	}
	if e, _ := s.Lookup(agentName); true {
		if l, _ := e.Lock(); !l.Held || !l.Alive {
			r.State = Stopped
			if r.Stale == nil { // it was killed, and could not say so
				r.Stale = r.Heard
			}
		}
	}
	return r, nil
}

func timeOf(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns)
	return &t
}

// quantile returns the upper bound of the bucket in which the quantile is, and twice the
// last bound beyond all bounds.
func quantile(d shm.HistogramData, q float64) float64 {
	var all, n uint64
	for _, c := range d.Counts {
		all += c
	}
	for i, c := range d.Counts {
		if n += c; all > 0 && float64(n) >= q*float64(all) {
			if i == len(d.Bounds) {
				return 2 * d.Bounds[i-1]
			}
			return d.Bounds[i]
		}
	}
	return 0
}
