package bench

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// scripted is a subject whose kills have the given results, one after the other.
type scripted struct {
	subject
	rounds []round
	played int
}

func (s *scripted) kill(context.Context) (round, error) {
	if s.played == len(s.rounds) {
		return round{}, errors.New("one round too many")
	}
	s.played++
	return s.rounds[s.played-1], nil
}

func TestKillAllReportsTheWorstRound(t *testing.T) {
	of := func(o Outcome, after int64) round { return round{o, after} }
	for _, test := range []struct {
		name   string
		rounds []round
		want   Outcome
		after  int64 // 0 if there is none
	}{
		{"alike", slices.Repeat([]round{of(Recovered, 7)}, killRounds), Recovered, 7},
		{"median", []round{of(WentOn, 9), of(WentOn, 1), of(WentOn, 5), of(WentOn, 8), of(WentOn, 2)}, WentOn, 5},
		{"one worse", append(slices.Repeat([]round{of(WentOn, 3)}, killRounds-1), of(Recovered, 3)), Recovered, 3},
		{"stuck ends it", []round{of(Recovered, 4), of(Stuck, 6)}, Stuck, 6},
		{"nobody left", slices.Repeat([]round{of(ProcessGone, 0)}, killRounds), ProcessGone, 0},
	} {
		k, err := killAll(t.Context(), &scripted{rounds: test.rounds})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		after := int64(0)
		if k.AfterNS != nil {
			after = *k.AfterNS
		}
		if k.Outcome != test.want || after != test.after || len(k.RoundsNS) != len(test.rounds) {
			t.Errorf("%s: %+v after %d", test.name, k, after)
		}
	}
	if k, err := killAll(t.Context(), &scripted{rounds: []round{{Outcome: "bliss"}}}); err == nil {
		t.Errorf("an unknown outcome gave %+v", k)
	}
}

func TestSumComparesActorsWithTheNumber(t *testing.T) {
	got := sum([]tally{{Ops: 3e6, NS: 2e9, NSPerOp: 5}, {Ops: 1e6, NS: 1e9}}, 1e6)
	want := Contended{Procs: 2, Seconds: 2, Ops: 4e6, MOps: 2, Counts: []int64{3e6, 1e6}, Lost: 3e6, nsPerOp: 5}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// result returns a result that a way could have.
func result(way string, lost int64, o Outcome, after time.Duration) Result {
	ns := after.Nanoseconds()
	many := Contended{Procs: 256, Ops: 9e9, MOps: 1234.5, Lost: lost}
	return Result{
		About:     About{Way: way, Label: "CPython RawValue", Actors: processes},
		Alone:     Alone{NSPerOp: 98765.4},
		Contended: []Contended{many, many},
		Lost:      lost, LostPercent: 49.876,
		Kill: Kill{Outcome: o, AfterNS: &ns},
	}
}

func TestAdviceFollowsTheResults(t *testing.T) {
	value := result("value", 0, Recovered, 620*time.Microsecond)
	atomic := result("atomic", 0, WentOn, time.Microsecond)
	raw := result("rawvalue", 5, WentOn, time.Microsecond)
	for _, test := range []struct {
		results []Result
		want    string
	}{
		{[]Result{value, atomic, raw}, "Choose Value: none lost, back 620 µs after a kill. One integer: Atomic. One writer only: RawValue."},
		{[]Result{value}, "Choose Value: none lost, back 620 µs after a kill."},
		{[]Result{result("value", 3, Recovered, 1)}, "Value lost 3 increments: that is a defect."},
		{[]Result{result("value", 0, Stuck, 2*time.Second)}, "Value did not recover from a kill (STUCK, gave up after 2 s): that is a defect."},
		{nil, ""},
	} {
		if got := advise(test.results); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestTableFitsAHundredColumns(t *testing.T) {
	r := &Report{
		Machine:  Machine{Go: "go1.26.8", OS: "linux", Arch: "amd64", Cores: 2, Kernel: "Linux 6.18"},
		Settings: Settings{Procs: []int{2, 64}},
		Ways:     []Result{result("cpython_value", 412_455_472, Stuck, 2*time.Second)},
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if want := "412,455,472 (50 %)"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, &b)
	}
}

func TestDecadesSurroundTheValues(t *testing.T) {
	var values []float64
	var names []string
	for _, tick := range decades([]float64{0.3, 20}) {
		values = append(values, tick.Value)
		if !tick.IsMinor() {
			names = append(names, tick.Label)
		}
	}
	if slices.Min(values) != 0.1 || slices.Max(values) != 100 {
		t.Errorf("ticks from %v to %v", slices.Min(values), slices.Max(values))
	}
	if want := []string{"0.1", "1", "10", "100"}; !slices.Equal(names, want) {
		t.Errorf("named %q, want %q", names, want)
	}
}
