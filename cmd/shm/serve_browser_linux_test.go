package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// served starts shm serve, and returns where it listens and what stops it: it returns the
// exit status.
func served(t *testing.T, args ...string) (url string, stop func() result) {
	t.Helper()
	url, _, stop = serving(t, args...)
	return url, stop
}

// serving is served, and returns the process as well.
func serving(t *testing.T, args ...string) (url string, p *os.Process, stop func() result) {
	t.Helper()
	cmd := exec.Command(tool, append([]string{"serve", "-addr", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() result {
		_ = cmd.Process.Signal(syscall.SIGINT)
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ok && exit.ExitCode() < 0 {
			t.Error(err)
		}
		return result{cmd.ProcessState.ExitCode(), "", complaints.String()}
	})
	t.Cleanup(func() { stop() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("shm serve ended at once: %+v", stop())
	}
	return lines.Text(), cmd.Process, stop
}

// browser is a Chromium with one page, and what that page has done.
type browser struct {
	context.Context
	t *testing.T

	mu    sync.Mutex
	loads []string // URLs
	wrong []string // errors, and what a page of a hostile segment could do
}

// openBrowser starts a Chromium of its own, or skips the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("chromium is not installed, so the page is not tested")
	}
	var options []chromedp.ExecAllocatorOption
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 860))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the end of the process
		cancel()
	})
	b := &browser{Context: ctx, t: t}
	b.run(func(context.Context, *chromedp.Target) (chromedp.Void, error) { return chromedp.Void{}, nil }) // starts it
	must(t)(chromedp.Call(ctx, network.Enable, network.EnableParams{}))
	hear(b, network.RequestWillBeSent, &b.loads, func(e network.EventRequestWillBeSent) string { return e.Request.URL })
	hear(b, runtime.ExceptionThrown, &b.wrong, func(e runtime.EventExceptionThrown) string { return e.ExceptionDetails.Text })
	hear(b, log.EntryAdded, &b.wrong, func(e log.EventEntryAdded) string { return e.Entry.Text })
	hear(b, page.JavascriptDialogOpening, &b.wrong, func(e page.EventJavascriptDialogOpening) string { return "a dialog: " + e.Message })
	return b
}

// must fails the test if a call of the browser did.
func must(t *testing.T) func(_ any, err error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hear notes the events of one kind.
func hear[E any](b *browser, event cdp.Event[E], to *[]string, text func(E) string) {
	events := chromedp.Events(b, event)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			b.mu.Lock()
			*to = append(*to, text(e))
			b.mu.Unlock()
		}
	}()
}

func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// evaluate runs a script of the page, which has no value.
func (b *browser) evaluate(script string) {
	b.t.Helper()
	must(b.t)(chromedp.Run(b, chromedp.Evaluate[any](script+"; 0")))
}

// size makes the page as large as that of a phone, or another one.
func (b *browser) size(width, height int64, phone bool) {
	b.t.Helper()
	must(b.t)(chromedp.Call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: phone}))
}

// scheme makes the page light or dark.
func (b *browser) scheme(name string) {
	b.t.Helper()
	must(b.t)(chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}))
}

// shownRow is a row of the page.
type shownRow struct {
	Value, Unit, Rate, Mark, Help string
	Dead                          bool
}

// shownPage is what a page shows at a moment.
type shownPage struct {
	Frame     int64
	Rows      map[string]shownRow
	Locks     string
	Processes string
	Alert     string
	Count     string
	Wide      bool // it can be scrolled to the side
	Images    int  // elements in the list that are none of ours
	Back, Ink string
}

const lookAtPage = `(() => {
	const visible = (e) => !e.hidden && getComputedStyle(e).display !== "none";
	const text = (e, q) => { const x = e.querySelector(q); return x && visible(x) ? x.textContent : ""; };
	const rows = {};
	for (const e of document.querySelectorAll("#list .row")) {
		if (visible(e)) rows[text(e, "b")] = { Value: text(e, ".value > span"), Unit: text(e, ".value .unit"), Rate: text(e, ".rate"), Mark: text(e, ".pill"), Help: text(e, ".help"), Dead: e.classList.contains("dead") };
	}
	return {
		Frame: Number(document.body.dataset.frame || 0), Rows: rows,
		Locks: document.getElementById("locks").textContent, Processes: document.getElementById("processes").textContent,
		Alert: document.getElementById("alert").hidden ? "" : document.getElementById("alert").textContent,
		Count: document.getElementById("count").textContent,
		Wide: document.documentElement.scrollWidth > innerWidth,
		Images: document.querySelectorAll("#list img, #list script, #list a, #list iframe").length,
		Back: getComputedStyle(document.body).backgroundColor, Ink: getComputedStyle(document.body).color,
	};
})()`

func (b *browser) look() shownPage {
	b.t.Helper()
	p, err := chromedp.Run(b, chromedp.Evaluate[shownPage](lookAtPage))
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// until waits until the page shows something.
func (b *browser) until(what string, ok func(p shownPage) bool) (p shownPage) {
	b.t.Helper()
	eventually(b.t, what, func() bool {
		p = b.look()
		if !ok(p) {
			time.Sleep(20 * time.Millisecond)
		}
		return ok(p)
	})
	return p
}

// harmless checks that the page has loaded nothing from elsewhere, and had no error.
func (b *browser) harmless(url string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.loads {
		if !strings.HasPrefix(l, url) {
			b.t.Errorf("the page has loaded %s", l)
		}
	}
	if len(b.loads) < 5 {
		b.t.Errorf("only %q were loaded", b.loads)
	}
	if len(b.wrong) > 0 {
		b.t.Errorf("the page: %q", b.wrong)
	}
}

// TestServePage compares the page in a real browser with the segment, while values change, a
// writer is killed, and names try to be more than text.
func TestServePage(t *testing.T) {
	b := openBrowser(t)
	name := fixture(t)
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	var board board
	if err := shm.Bind(seg, &board); err != nil {
		t.Fatal(err)
	}
	const hostile = `<img src=x onerror=alert(1)>`
	if _, err := shm.NewRawValue(seg, hostile, 7.0); err != nil {
		t.Fatal(err)
	}
	const interval = 200 * time.Millisecond
	url, _ := served(t, "-i", interval.String(), name)
	b.run(chromedp.Navigate(url))

	// The same as the tool prints, which has tests of its own.
	p := b.until("all rows", func(p shownPage) bool { return len(p.Rows) >= 16 })
	for row, want := range map[string]shownRow{
		"requests":        {Value: "41", Unit: "requests", Help: "served since the start"},
		"load":            {Value: "0.25", Help: "of the last minute, 1 is a core"},
		"uptime":          {Value: "1m30s", Help: "Value[int64]"},
		"started":         {Value: "2026-01-02T03:04:05.006Z", Help: "RawValue[int64]"},
		"cache":           {Value: "3.0 MiB", Help: "RawValue[int64]"},
		"version":         {Value: "2.1", Help: "String"},
		"config.Limit":    {Value: "8", Help: "Struct"},
		"config.Debug":    {Value: "false", Help: "Struct"},
		"config.name":     {Value: `a"`, Help: "Struct"},
		"samples":         {Value: "[0, -7, 0, 0]", Help: "Array[int32]"},
		"lock":            {Value: "free", Help: "Mutex"},
		"tag":             {Value: `"xy"`, Help: "RawStruct[[8]uint8]"},
		hostile:           {Value: "7", Help: "RawValue[float64]"},
		`odd name.x[1]=2`: {Value: `"\x1b]2;owned\a"`, Help: `"\u202e\u009b2J"`},
	} {
		got := p.Rows[row]
		if got.Rate = ""; row == "odd name.x[1]=2" {
			got.Unit = ""
		}
		if got != want {
			t.Errorf("%s: the page shows %+v, want %+v", row, got, want)
		}
	}
	if p.Images != 0 {
		t.Errorf("%d elements of the list are made by names", p.Images)
	}

	// What changes is shown, and how fast.
	for i := range 5 {
		board.Requests.Add(100)
		b.until("a change", func(p shownPage) bool {
			return p.Rows["requests"].Value == fmt.Sprint(41+100*(i+1))
		})
	}
	b.until("a rate", func(p shownPage) bool {
		board.Requests.Add(1)
		return strings.HasPrefix(p.Rows["requests"].Rate, "+")
	})

	// A writer is killed inside an Update.
	holder := start(t, "hold", name)
	b.until("the lock is held", func(p shownPage) bool {
		return p.Rows["config.Limit"].Mark == "locked" && strings.Contains(p.Locks, fmt.Sprint(holder.Process.Pid))
	})
	holder.signal(t, syscall.SIGKILL)
	_ = holder.Wait()
	killed := time.Now()
	p = b.until("two intervals after the kill", func(p shownPage) bool { return p.Frame >= killed.Add(2*interval).UnixMilli() })
	if r := p.Rows["config.Limit"]; !r.Dead || r.Mark != "writer dead" {
		t.Errorf("two intervals after the kill the row is %+v", r)
	}
	b.until("the dead holder in all places", func(p shownPage) bool {
		return strings.Contains(p.Alert, "dead") && strings.Contains(p.Locks, "dead") && strings.Contains(p.Processes, "dead")
	})
	if r := shmTool(t, "set", name, "config.Limit=20"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	b.until("the value goes on", func(p shownPage) bool {
		r := p.Rows["config.Limit"]
		return r.Value == "20" && !r.Dead && r.Mark == "abandoned" && p.Alert == ""
	})

	// A filter that no value has, and one value closely.
	b.run(chromedp.SendKeys(chromedp.CSS("#filter"), "no such value"))
	b.until("an empty list", func(p shownPage) bool { return len(p.Rows) == 0 && strings.HasPrefix(p.Count, "0 of ") })
	if empty, err := chromedp.Run(b, chromedp.Text(chromedp.CSS("#empty"))); err != nil || empty != "No value has this in its name." {
		t.Errorf("of no value the page says %q, %v", empty, err)
	}
	b.evaluate(`document.getElementById("filter").value = ""; document.getElementById("filter").dispatchEvent(new Event("input"))`)
	b.run(chromedp.SendKeys(chromedp.CSS("#filter"), "CONFIG."))
	b.until("the filter", func(p shownPage) bool {
		return len(p.Rows) == 4 && strings.HasPrefix(p.Count, "4 of ") && strings.HasSuffix(p.Count, " rows")
	})
	b.run(chromedp.Click(chromedp.CSS(`#list .row[data-key="6.Limit"]`)), chromedp.WaitVisible(chromedp.CSS("#detail canvas")))
	detail, err := chromedp.Run(b, chromedp.Text(chromedp.CSS("#detail")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"config.Limit", "20", "Struct", "Made by"} {
		if !strings.Contains(detail, want) {
			t.Errorf("the value closely lacks %q: %s", want, detail)
		}
	}

	// On a phone, light and dark.
	var backs []string
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.size(360, 740, true)
		for _, tab := range []string{"values", "locks", "processes"} {
			b.evaluate(fmt.Sprintf(`document.querySelector("#tabs [data-tab=%s]").click()`, tab))
			if p := b.look(); p.Wide {
				t.Errorf("on a phone %s can be scrolled to the side", tab)
			}
		}
		b.evaluate(`document.querySelector("#tabs [data-tab=values]").click()`)
		p := b.look()
		backs = append(backs, p.Back)
		if p.Back == p.Ink {
			t.Errorf("%s: text %s on %s", scheme, p.Ink, p.Back)
		}
	}
	if backs[0] == backs[1] {
		t.Errorf("light and dark are both %s", backs[0])
	}

	// The segment goes, and another one comes.
	b.evaluate(`document.getElementById("d-close").click(); document.getElementById("filter").value = ""; document.getElementById("filter").dispatchEvent(new Event("input"))`)
	if err := shm.Remove(name); err != nil {
		t.Fatal(err)
	}
	b.until("the segment is gone", func(p shownPage) bool { return len(p.Rows) == 0 && strings.Contains(p.Alert, "no such segment") })
	again, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := shm.NewRawValue(again, "other", 5.5); err != nil {
		t.Fatal(err)
	}
	b.until("the new segment", func(p shownPage) bool {
		return len(p.Rows) == 1 && p.Rows["other"].Value == "5.5" && p.Alert == ""
	})
	b.harmless(url)
}

// TestServePageOfNumbers shows numbers with many digits, and one that is NaN at first.
func TestServePageOfNumbers(t *testing.T) {
	b := openBrowser(t)
	name := filepath.Join(t.TempDir(), "numbers")
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	wants := map[string]string{}
	for i, c := range []struct {
		x    float64
		want string
	}{
		{1000000.125, "1 000 000"}, {1234560.125, "1 234 560"}, {-2000000.25, "-2 000 000"}, {100.000000001, "100"}, {0.12345678912, "0.1234568"},
		{123456.78901, "123456.8"}, {12345678.125, "12345678.125"}, {120, "120"}, {1200000, "1 200 000"},
	} {
		value := fmt.Sprint("x", i)
		wants[value] = strings.ReplaceAll(c.want, " ", "\u2009")
		if _, err := shm.NewValue(seg, value, c.x); err != nil {
			t.Fatal(err)
		}
	}
	odd, err := shm.NewValue(seg, "odd", math.NaN())
	if err != nil {
		t.Fatal(err)
	}
	url, _ := served(t, "-i", "200ms", name)
	b.run(chromedp.Navigate(url))
	p := b.until("all rows", func(p shownPage) bool { return len(p.Rows) == len(wants)+1 })
	for value, want := range wants {
		if got := p.Rows[value].Value; got != want {
			t.Errorf("%s is %q, want %q", value, got, want)
		}
	}
	b.run(chromedp.Click(chromedp.CSS(fmt.Sprintf(`#list .row[data-key="%d"]`, len(wants)))), chromedp.WaitVisible(chromedp.CSS("#d-text")))
	odd.Store(1)
	eventually(t, "a chart of what is a number now", func() bool {
		n, err := chromedp.Run(b, chromedp.Evaluate[int](`document.querySelectorAll("#d-chart canvas").length`))
		return err == nil && n == 1
	})
	b.harmless(url)
}

// TestServePageOfManyValues opens the page of a segment of 100,000 values: it has the rows
// alone that are to be seen, says how many there are, and shows the last one when it is
// scrolled there.
func TestServePageOfManyValues(t *testing.T) {
	b := openBrowser(t)
	name := filepath.Join(t.TempDir(), "many")
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	const n = 100_000
	for i := range n {
		if _, err := shm.NewAtomic(seg, fmt.Sprintf("value.%06d", i), int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	url, _ := served(t, "-i", "100ms", name)
	begun := time.Now()
	b.run(chromedp.Navigate(url))
	p := b.until("the first rows", func(p shownPage) bool { return p.Rows["value.000000"].Value == "0" })
	t.Logf("the first of %d values are to be seen after %v", n, time.Since(begun))
	if p.Count != "100\u2009000 rows" || len(p.Rows) > 60 {
		t.Errorf("%d rows of %q", len(p.Rows), p.Count)
	}
	for what, script := range map[string]string{"value.099999": "scrollTo(0, document.body.scrollHeight)", "value.000000": "scrollTo(0, 0)"} {
		b.evaluate(script)
		p := b.until(what, func(p shownPage) bool { return p.Rows[what].Value != "" })
		if len(p.Rows) > 60 {
			t.Errorf("at %s the page has %d rows", what, len(p.Rows))
		}
	}
	b.run(chromedp.SendKeys(chromedp.CSS("#filter"), "00432"))
	b.until("the filter", func(p shownPage) bool { return p.Count == "11 of 100\u2009000 rows" && len(p.Rows) == 11 })
	b.harmless(url)
}
