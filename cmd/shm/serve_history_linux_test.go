package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"example.org/shm"
)

// TestServeHistory opens a second page after a first one has looked for a while: its charts
// begin with what the first has seen.
func TestServeHistory(t *testing.T) {
	name := fixture(t)
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	var b board
	if err := shm.Bind(seg, &b); err != nil {
		t.Fatal(err)
	}
	url, _ := served(t, "-i", "100ms", name)
	type view struct {
		Rows []struct{ K, Name string }
		Past map[string]struct {
			T []int64
			Y []float64
		}
	}
	query := "events?open=6.Limit&n=1&seg=" + name
	first := events(t, url+query)
	if v := decode[view](t, first("view")); len(v.Past) != 0 || v.Rows[0].Name != "requests" {
		t.Fatalf("at first: %+v", v)
	}
	for range 5 {
		first("frame")
		b.Requests.Add(10)
	}
	v := decode[view](t, events(t, url+query)("view"))
	p := v.Past[v.Rows[0].K]
	if len(p.T) < 4 || len(p.T) != len(p.Y) || p.Y[0] != 41 || p.Y[len(p.Y)-1] < p.Y[0]+20 {
		t.Errorf("the history of requests is %+v", p)
	}
	for i, d := range p.T {
		if i > 0 && (d < 50 || d > 60_000) {
			t.Errorf("%d ms between two points", d)
		}
	}
	if p := v.Past["6.Limit"]; len(p.Y) < 4 || p.Y[0] != 8 {
		t.Errorf("the history of the row that is looked at closely is %+v", p)
	}
	if len(v.Past) != 2 {
		t.Errorf("%d histories for two rows", len(v.Past))
	}
}

// TestServeGauge looks at a Gauge closely: what each living process has set, without what
// one had set that was killed.
func TestServeGauge(t *testing.T) {
	name := fixture(t)
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	g, err := shm.NewGauge[int64](seg, "busy")
	if err != nil {
		t.Fatal(err)
	}
	g.Set(2)
	other := start(t, "gauge", name)
	url, _ := served(t, "-i", "100ms", name)
	next := events(t, url+"events?q=busy&open=12&seg="+name)
	type looked struct {
		Rows [][]any
		Open struct {
			Bars []struct {
				Label, Text string
				Long        float64
			}
		}
	}
	sees := func(want map[string]string) func() bool {
		return func() bool {
			f := decode[looked](t, next("frame"))
			ok := len(f.Open.Bars) == len(want)
			for _, b := range f.Open.Bars {
				ok = ok && want[b.Label] == b.Text
			}
			return ok
		}
	}
	me, it := fmt.Sprintf("shm.test (%d)", os.Getpid()), fmt.Sprintf("shm.test (%d)", other.Process.Pid)
	eventually(t, "both processes", sees(map[string]string{me: "2", it: "5"}))
	other.signal(t, syscall.SIGKILL)
	_ = other.Wait()
	eventually(t, "the living one alone", sees(map[string]string{me: "2"}))
}
