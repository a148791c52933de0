package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// advise returns one line that says which way to choose, according to the results.
func advise(results []Result) string {
	find := func(way string) *Result {
		i := slices.IndexFunc(results, func(r Result) bool { return r.Way == way })
		if i < 0 {
			return nil
		}
		return &results[i]
	}
	var says []string
	if v := find("value"); v != nil {
		says = append(says, adviseLocked(*v))
	}
	if a := find("atomic"); a != nil && a.Lost == 0 {
		says = append(says, "One integer: Atomic.")
	}
	if r := find("rawvalue"); r != nil && r.Lost > 0 {
		says = append(says, "One writer only: RawValue.")
	}
	return strings.Join(says, " ")
}

// adviseLocked returns the advice about Value: to choose it, or that it has a defect.
func adviseLocked(v Result) string {
	switch {
	case v.Lost != 0:
		return fmt.Sprintf("Value lost %d increments: that is a defect.", v.Lost)
	case v.Kill.Outcome != Recovered || v.Kill.AfterNS == nil:
		return fmt.Sprintf("Value did not recover from a kill (%s): that is a defect.", v.Kill)
	}
	return fmt.Sprintf("Choose Value: none lost, back %s after a kill.", shortDuration(time.Duration(*v.Kill.AfterNS)))
}
