package bench

import (
	"fmt"
	"time"
)

// Report has the results of a run. Its field names in JSON are stable.
type Report struct {
	Machine  Machine   `json:"machine"`
	Settings Settings  `json:"settings"`
	Ways     []Result  `json:"ways"`
	Missing  []Missing `json:"missing,omitempty"`
	Advice   string    `json:"advice"`
}

// Settings are the options and the constants of a run.
type Settings struct {
	Procs        []int `json:"procs"`
	TimeNS       int64 `json:"time_ns"`
	KillRounds   int   `json:"kill_rounds"`
	StuckAfterNS int64 `json:"stuck_after_ns"`
}

// About describes a way.
type About struct {
	Way    string `json:"way"`    // name for programs, stable
	Label  string `json:"label"`  // name for people
	Actors string `json:"actors"` // "processes", or "goroutines" of one process

	optional bool // whether systems may lack the way
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

// Result has the results of one way.
type Result struct {
	About
	Alone       Alone       `json:"alone"`
	Contended   []Contended `json:"contended"`
	Lost        int64       `json:"lost"` // lost increments of all contended ones
	LostPercent float64     `json:"lost_percent"`
	Kill        Kill        `json:"kill"`
}

// Alone is the result of one actor that counts alone.
type Alone struct {
	NSPerOp float64 `json:"ns_per_op"` // median of batches of about 0.2 ms
	Ops     int64   `json:"ops"`
}

// Contended is the result of several actors that increment one number at once.
type Contended struct {
	Procs   int     `json:"procs"`
	Pinned  bool    `json:"pinned"` // whether each process had a core of its own
	Seconds float64 `json:"seconds"`
	Ops     int64   `json:"ops"`    // increments that the actors counted
	MOps    float64 `json:"mops"`   // million increments a second, of all actors together
	Counts  []int64 `json:"counts"` // increments of each actor
	Lost    int64   `json:"lost"`   // Ops minus the growth of the number

	nsPerOp float64 // of the first actor
}

// Outcome is what happened to the other processes when one was killed.
type Outcome string

// The outcomes, from best to worst. If rounds differ, the worst one counts.
const (
	WentOn      Outcome = "went_on"      // they never had to wait
	Recovered   Outcome = "recovered"    // they waited for the dead process, and then continued
	ServiceGone Outcome = "service_gone" // they got an error, as the process that did the work was dead
	ProcessGone Outcome = "process_gone" // they were goroutines of the killed process
	Stuck       Outcome = "stuck"        // they waited for the dead process until the benchmark gave up
)

var outcomes = []Outcome{WentOn, Recovered, ServiceGone, ProcessGone, Stuck}

// Kill is the result of killing a process in the middle of an increment while another
// process wants to increment.
type Kill struct {
	Outcome  Outcome `json:"outcome"`
	AfterNS  *int64  `json:"after_ns"`  // median time from the kill to the other's next increment or error; null if there is none
	RoundsNS []int64 `json:"rounds_ns"` // time of each round
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

// shortDuration returns a duration with two or three significant digits.
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
