package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm"
)

// answer is what a server has answered.
type answer struct {
	*http.Response
	body string
}

// get asks a server, with headers in pairs.
func get(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(b)}
}

// events reads the stream of a page, and returns its next event of a name.
func events(t *testing.T, url string) (next func(name string) string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func(name string) string {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: "+name && lines.Scan() {
				return strings.TrimPrefix(lines.Text(), "data: ")
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
}

// frame is an event of a stream.
type frame struct {
	Rows  [][4]any
	State struct {
		Values, Held, Dead, Attached int
		Damage                       string
	}
	Segs  []struct{ Name, Shown string }
	Error string
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

// TestServeMetrics compares a scrape with the values.
func TestServeMetrics(t *testing.T) {
	seg := fixture(t)
	url, stop := served(t, seg)
	a := get(t, "GET", url+"metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(a.body, "# EOF\n") {
		t.Errorf("%s, not OpenMetrics:\n%s", a.Header.Get("Content-Type"), a.body)
	}
	for _, want := range []string{
		"# TYPE cache_bytes unknown", "# UNIT cache_bytes bytes", "cache_bytes{segment=%q} 3.145728e+06",
		"# HELP requests served since the start", "requests{segment=%q} 41.0",
		"# TYPE uptime_seconds gauge", "uptime_seconds{segment=%q} 90.0",
		"config_limit{segment=%q} 8.0", `samples{index="1",segment=%q} -7.0`,
		"shm_segment_up{segment=%q} 1.0", "shm_segment_values{segment=%q} 12.0",
	} {
		if strings.Contains(want, "%q") {
			want = fmt.Sprintf(want, seg)
		}
		if !strings.Contains(a.body, "\n"+want+"\n") {
			t.Errorf("the metrics lack %s:\n%s", want, a.body)
		}
	}
	if a := get(t, "GET", url+"metrics"); !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") || !strings.Contains(a.body, "# TYPE requests untyped") {
		t.Errorf("the older format: %s\n%s", a.Header.Get("Content-Type"), a.body)
	}
	if r := stop(); r.status != statusInterrupted || r.stderr != "" {
		t.Errorf("after Ctrl-C: %+v", r)
	}
}

// TestServeAnswers checks what else is answered: who is let in, errors, and what browsers
// are told.
func TestServeAnswers(t *testing.T) {
	seg := fixture(t)
	url, _ := served(t, "-host", "Shm.Example", seg)
	_, port, err := net.SplitHostPort(strings.Trim(strings.TrimPrefix(url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path string
		headers      []string
		status       int
		says         string
	}{
		{"GET", "", nil, 200, "<!doctype html>"},
		{"HEAD", "", nil, 200, ""},
		{"GET", "page.js", nil, 200, "textContent"},
		{"GET", "uplot.js", nil, 200, "uPlot"},
		{"GET", "uplot.LICENSE", nil, 200, "MIT"},
		{"GET", "healthz", nil, 200, `"status":"ok"`},
		{"GET", "", []string{"Host", "localhost:" + port}, 200, ""},
		{"GET", "", []string{"Host", "shm.example"}, 200, ""},
		{"GET", "", []string{"Host", "[::1]:" + port}, 200, ""},
		{"GET", "", []string{"Host", "192.0.2.1"}, 200, ""},
		{"GET", "", []string{"Host", "evil.example:" + port}, 403, "evil.example"},
		{"GET", "metrics", []string{"Host", "evil.example"}, 403, "-host"},
		{"GET", "events?seg=" + seg, []string{"Host", "127.0.0.1.evil.example"}, 403, ""},
		{"GET", "metrics", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403, "another site"},
		{"GET", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200, ""},
		{"POST", "", nil, 405, "only reads"},
		{"PUT", "metrics", nil, 405, ""},
		{"DELETE", "events", nil, 405, ""},
		{"GET", "nope", nil, 404, "/metrics"},
		{"GET", "assets/page.js", nil, 404, ""},
		{"GET", "events?seg=/etc/passwd", nil, 404, "not served"},
		{"GET", "events?from=-1", nil, 400, "from=-1"},
		{"GET", "events?n=x", nil, 400, "n=x"},
	} {
		a := get(t, c.method, url+c.path, c.headers...)
		if a.StatusCode != c.status || !strings.Contains(a.body, c.says) {
			t.Errorf("%s /%s %q: %s, want %d and %q\n%.300s", c.method, c.path, c.headers, a.Status, c.status, c.says, a.body)
		}
		if a.StatusCode >= 400 {
			e := decode[struct {
				Schema int
				Error  struct {
					Message, Kind string
					Status        int
				}
			}](t, a.body)
			if e.Schema != 1 || e.Error.Message == "" || e.Error.Kind == "" || e.Error.Status == 0 || a.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s /%s: the error is %s", c.method, c.path, a.body)
			}
		}
		for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := a.Header.Get(name); !strings.Contains(got, want) {
				t.Errorf("%s /%s: %s is %q", c.method, c.path, name, got)
			}
		}
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("/%s lets other sites read", c.path)
		}
	}
	etag := get(t, "GET", url+"page.js").Header.Get("ETag")
	if a := get(t, "GET", url+"page.js", "If-None-Match", etag); a.StatusCode != http.StatusNotModified {
		t.Errorf("the same file again: %s", a.Status)
	}
}

// TestServeRefusals checks how the command ends that cannot serve.
func TestServeRefusals(t *testing.T) {
	seg := fixture(t)
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, bytes.Repeat([]byte{0xff}, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, c := range []struct {
		status int
		says   string
		args   []string
	}{
		{statusFailed, "choose another port", []string{"-addr", ln.Addr().String(), seg}},
		{statusFailed, "lookup", []string{"-addr", "no-such-host.invalid:0", seg}},
		{statusUsage, "HOST:PORT", []string{"-addr", "9188", seg}},
		{statusUsage, "", []string{"-i", "1ms", seg}},
		{statusAbsent, "absent", []string{filepath.Join(dir, "absent")}},
		{statusAbsent, "absent", []string{seg, filepath.Join(dir, "absent")}},
		{statusDamaged, "damaged", []string{damaged}},
	} {
		r := shmTool(t, append([]string{"serve"}, c.args...)...)
		if r.status != c.status || !strings.Contains(r.stderr, c.says) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("serve %q: %+v, want %d and %q", c.args, r, c.status, c.says)
		}
	}
	if os.Getuid() != 0 {
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, make([]byte, 1<<16), 0); err != nil {
			t.Fatal(err)
		}
		if r := shmTool(t, "serve", secret); r.status != statusFailed || !strings.Contains(r.stderr, "permission denied") {
			t.Errorf("no permission: %+v", r)
		}
	}
	url, stop := served(t, "-addr", "0.0.0.0:0", "-o", "json", seg)
	at := decode[struct {
		Schema       int
		URL, Metrics string
	}](t, url)
	if at.Schema != 1 || !strings.HasPrefix(at.URL, "http://[::]:") && !strings.HasPrefix(at.URL, "http://0.0.0.0:") || at.Metrics != at.URL+"metrics" {
		t.Errorf("it says %s", url)
	}
	if r := stop(); !strings.Contains(r.stderr, "warning") || !strings.Contains(r.stderr, "no password") {
		t.Errorf("outside loopback it says %q", r.stderr)
	}
}

// TestServeDisturbsNobody checks that a page and a scrape change no byte, take no lease and
// hold nothing up, and that the segment is let go afterwards.
func TestServeDisturbsNobody(t *testing.T) {
	seg := fixture(t)
	before, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	url, stop := served(t, "-i", "100ms", seg)
	next := events(t, url+"events?open=6.Limit&seg="+seg)
	for range 3 {
		f := decode[frame](t, next("frame"))
		if len(f.Rows) == 0 || f.State.Values != 12 || f.State.Held != 0 || f.State.Attached != 0 {
			t.Errorf("%+v", f)
		}
	}
	get(t, "GET", url+"metrics")
	get(t, "GET", url+"healthz")
	if after, err := os.ReadFile(seg); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the segment was changed: %v", err)
	}
	if r := shmTool(t, "rm", "-n", seg); r.status != statusLocked {
		t.Errorf("rm while a page looks: %+v", r)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	url, _ = served(t, "-i", "100ms", seg)
	get(t, "GET", url+"metrics")
	eventually(t, "the segment is let go after a scrape", func() bool { return shmTool(t, "rm", "-n", seg).status == 0 })
}

// TestServeManyValues looks at a segment of 100,000 values: a frame has only those that are
// looked at.
func TestServeManyValues(t *testing.T) {
	name := filepath.Join(t.TempDir(), "many")
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	n := 100_000
	if testing.Short() {
		n = 5000
	}
	for i := range n {
		if _, err := shm.NewRawValue(seg, fmt.Sprintf("value.%06d", i), float64(i)); err != nil {
			t.Fatal(err)
		}
	}
	url, _ := served(t, "-i", "100ms", name)
	for _, c := range []struct {
		query                       string
		matched, from, rows, number int
	}{
		{"n=60", n, 0, 60, 0},
		{"from=4321&n=20", n, 4321, 20, 4321},
		{"from=999999999&n=20", n, n - 20, 20, n - 20},
		{"n=999999999", n, 0, 200, 0},
		{"q=VALUE.00432", 10, 0, 10, 4320},
		{"q=nothing", 0, 0, 0, 0},
		{"n=0", n, 0, 0, 0},
	} {
		next := events(t, url+"events?seg="+name+"&"+c.query)
		v := decode[struct {
			Total, Matched, From int
			Rows                 []struct{ Name string }
		}](t, next("view"))
		text := next("frame")
		f := decode[frame](t, text)
		if v.Total != n || v.Matched != c.matched || v.From != c.from || len(v.Rows) != c.rows || len(f.Rows) != c.rows {
			t.Errorf("%s: %d of %d from %d, %d and %d rows", c.query, v.Matched, v.Total, v.From, len(v.Rows), len(f.Rows))
		} else if c.rows > 0 && (f.Rows[0][0] != float64(c.number) || v.Rows[0].Name != fmt.Sprintf("value.%06d", c.number)) {
			t.Errorf("%s: the first row is %s: %v", c.query, v.Rows[0].Name, f.Rows[0])
		}
		if len(text) > 32<<10 {
			t.Errorf("%s: a frame of %d bytes", c.query, len(text))
		}
	}
}

// TestServeComingAndGoing checks a page of a segment that is removed, damaged and made anew,
// and that all of /dev/shm is served if none is named.
func TestServeComingAndGoing(t *testing.T) {
	name := fmt.Sprintf("shmtool-serve-%d", os.Getpid())
	t.Cleanup(func() { _ = shm.Remove(name) })
	open := func(x float64) {
		t.Helper()
		s, err := shm.Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if _, err := shm.NewRawValue(s, "x", x); err != nil {
			t.Fatal(err)
		}
	}
	url, _ := served(t, "-i", "100ms")
	next := events(t, url+"events?seg="+name)
	until := func(what string, ok func(f frame) bool) {
		t.Helper()
		eventually(t, what, func() bool { return ok(decode[frame](t, next("frame"))) })
	}
	listed := func(f frame) bool {
		for _, s := range f.Segs {
			if s.Name == name {
				return true
			}
		}
		return false
	}
	until("there is none", func(f frame) bool { return strings.Contains(f.Error, "no such segment") && !listed(f) })
	open(1)
	until("it is there", func(f frame) bool { return len(f.Rows) == 1 && f.Rows[0][1] == "1" && listed(f) })
	if err := shm.Remove(name); err != nil {
		t.Fatal(err)
	}
	until("it is gone", func(f frame) bool { return f.Error != "" && !listed(f) })
	open(2)
	until("another one is there", func(f frame) bool { return len(f.Rows) == 1 && f.Rows[0][1] == "2" })
	if err := shm.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shm.Path(name), bytes.Repeat([]byte{0xff}, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	until("it is no segment", func(f frame) bool { return strings.Contains(f.Error, "not a segment") })
	if a := get(t, "GET", url+"healthz"); a.StatusCode != http.StatusOK {
		t.Errorf("a file that nobody has named: %s\n%s", a.Status, a.body)
	}

	seg := fixture(t)
	named, _ := served(t, "-i", "100ms", seg)
	if err := shm.Remove(seg); err != nil {
		t.Fatal(err)
	}
	if a := get(t, "GET", named+"healthz"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `"kind":"absent"`) {
		t.Errorf("a segment that was named is gone: %s\n%s", a.Status, a.body)
	}
	if a := get(t, "GET", named+"metrics"); !strings.Contains(a.body, fmt.Sprintf("shm_segment_up{segment=%q} 0", seg)) {
		t.Errorf("metrics without the segment: %s", a.body)
	}
}

// TestServePagesAreIndependent checks that a page that does not read holds up no other one.
func TestServePagesAreIndependent(t *testing.T) {
	seg := fixture(t)
	url, _ := served(t, "-i", "100ms", seg)
	c, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(1 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET /events?n=200&seg=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", seg); err != nil {
		t.Fatal(err)
	}
	next := events(t, url+"events?seg="+seg)
	for range 10 {
		next("frame")
	}
	get(t, "GET", url+"metrics")
}
