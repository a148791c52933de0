package bench

import (
	"fmt"
	"time"
)

// Report is everything a run measured. Its field names in JSON are stable.
type Report struct {
	Machine  Machine   `json:"machine"`
	Settings Settings  `json:"settings"`
	Ways     []Result  `json:"ways"`
	Missing  []Missing `json:"missing,omitempty"`
	Advice   string    `json:"advice"`
}

// Settings are what the run was told, and what it assumed.
type Settings struct {
	Procs        []int `json:"procs"`
	TimeNS       int64 `json:"time_ns"`
	KillRounds   int   `json:"kill_rounds"`
	StuckAfterNS int64 `json:"stuck_after_ns"`
}

// About names a way.
type About struct {
	Way    string `json:"way"`    // stable, for programs
	Label  string `json:"label"`  // for people
	Actors string `json:"actors"` // "processes", or "goroutines" of one process

	optional bool // a system may lack it
}

const (
	processes  = "processes"
	goroutines = "goroutines"
)

// Missing is a way that could not be measured.
type Missing struct {
	About
	Reason string `json:"reason"`
}

// Result is what was measured of one way.
type Result struct {
	About
	Alone       Alone       `json:"alone"`
	Contended   []Contended `json:"contended"`
	Lost        int64       `json:"lost"` // of all contended increments
	LostPercent float64     `json:"lost_percent"`
	Kill        Kill        `json:"kill"`
}

// Alone is the cost of an increment that nobody disturbs.
type Alone struct {
	NSPerOp float64 `json:"ns_per_op"` // median over batches of some 0.2 ms
	Ops     int64   `json:"ops"`
}

// Contended is several actors incrementing one number at once.
type Contended struct {
	Procs   int     `json:"procs"`
	Pinned  bool    `json:"pinned"` // each to a core of its own
	Seconds float64 `json:"seconds"`
	Ops     int64   `json:"ops"`    // as the actors counted them
	MOps    float64 `json:"mops"`   // million increments a second, of all actors together
	Counts  []int64 `json:"counts"` // of each actor
	Lost    int64   `json:"lost"`   // Ops minus what the number grew by

	nsPerOp float64 // of the first actor
}

// Outcome is what became of the others when a process was killed.
type Outcome string

// From best to worst, as they count if rounds differ.
const (
	WentOn      Outcome = "went_on"      // they never had to wait
	Recovered   Outcome = "recovered"    // they waited for the dead one, and got on
	ServiceGone Outcome = "service_gone" // they got an error: who did the work is dead
	ProcessGone Outcome = "process_gone" // they were part of it
	Stuck       Outcome = "stuck"        // they waited for the dead one until the bench gave up
)

var outcomes = []Outcome{WentOn, Recovered, ServiceGone, ProcessGone, Stuck}

// Kill is what happened when a process was killed in the middle of an
// increment while another wanted to make one.
type Kill struct {
	Outcome  Outcome `json:"outcome"`
	AfterNS  *int64  `json:"after_ns"`  // median, from the kill to the other's next increment or error; null if none
	RoundsNS []int64 `json:"rounds_ns"` // each round's
}

// String describes the outcome in a few words.
func (k Kill) String() string {
	after := ""
	if k.AfterNS != nil {
		after = " after " + shortDuration(time.Duration(*k.AfterNS))
	}
	switch k.Outcome {
	case WentOn:
		return "others went on, no lock"
	case Recovered:
		return "recovered" + after
	case ServiceGone:
		return "service gone" + after
	case ProcessGone:
		return "all gone with the process"
	}
	return "STUCK, gave up" + after
}

// shortDuration has two or three digits that mean something.
func shortDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Round(time.Microsecond).Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}
