// Package doctor looks at what a machine offers to programs that share memory, and says
// what it means for them.
package doctor

// Verdict says how serious a finding is.
type Verdict string

// The verdicts.
const (
	Fine Verdict = "fine"
	Note Verdict = "note" // it works, and there is something to know
	Bad  Verdict = "bad"  // segments do not work, or not in full
)

// Finding is what a check has found.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Means   string  `json:"means,omitempty"` // what it means, and what to do
}
