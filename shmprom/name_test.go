package shmprom

import "testing"

func TestFamilyName(t *testing.T) {
	for _, c := range []struct {
		namespace, name, unit string
		counter               bool
		want                  string
	}{
		{"", "requests", "", false, "requests"},
		{"", "requests", "", true, "requests_total"},
		{"", "requests_total", "", true, "requests_total"},
		{"", "requests", "requests", true, "requests_total"},
		{"", "sent_bytes_total", "bytes", true, "sent_bytes_total"},
		{"", "sent_total", "bytes", true, "sent_bytes_total"},
		{"web", "sent", "bytes", false, "web_sent_bytes"},
		{"", "HTTPCode.x-1", "", false, "http_code_x_1"},
		{"", "maxConns", "", false, "max_conns"},
		{"", "p99Latency", "", false, "p99_latency"},
		{"", "9lives", "", false, "_9lives"},
		{"web", "9lives", "", false, "web_9lives"},
		{"", "größe", "", false, "gr_e"},
		{"", "_total", "", true, "total_total"},
		{"", "—", "", true, "value_total"},
	} {
		if got := familyName(c.namespace, c.name, c.unit, c.counter); got != c.want {
			t.Errorf("%q, %q, %q, %v: %s, want %s", c.namespace, c.name, c.unit, c.counter, got, c.want)
		}
	}
}

func TestScales(t *testing.T) {
	for _, c := range []struct {
		hint, unit string
		x          float64
		name       string
		want       float64
	}{
		{"duration", "", 1500000000, "seconds", 1.5},
		{"duration", "ms", 1500000000, "seconds", 1.5},
		{"time", "", 1750000000e9, "timestamp_seconds", 1750000000},
		{"", "ms", 20, "seconds", 0.02},
		{"", "µs", 20, "seconds", 0.00002},
		{"", "min", 2, "seconds", 120},
		{"", "MiB", 2, "bytes", 2 << 20},
		{"", "kB", 2, "bytes", 2000},
		{"", "%", 50, "ratio", 0.5},
		{"", "°C", 21, "celsius", 21},
		{"", "requests/s", 3, "requests_s", 3},
		{"", "\x1b[2J", 3, "2_j", 3},
		{"", "", 3, "", 3},
	} {
		if s := scaleOf(c.hint, c.unit); s.unit != c.name || s.of(c.x) != c.want {
			t.Errorf("%q, %q: %v %s, want %v %s", c.hint, c.unit, s.of(c.x), s.unit, c.want, c.name)
		}
	}
	for base := range scales {
		if s := scales[base]; scaleOf("", s.unit) != (scale{s.unit, 1, 1}) {
			t.Errorf("the base unit %s is no base unit", s.unit)
		}
	}
}

func TestLabels(t *testing.T) {
	l := labels{}.with("a", "1").with("a", "2").with("a", "\xff")
	if got := l.names(); len(got) != 3 || got[1] != "a_" || got[2] != "a__" || l.values()[2] != "\uFFFD" {
		t.Errorf("%v", l)
	}
	if got, want := valid("a\x1b[2J\u009b\u202e\x7f\n\té\xff"), `a\u001b[2J\u009b\u202e\u007f`+"\n\té\uFFFD"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for name, want := range map[string]string{"Row": "row", "9": "_9", "é": "other"} {
		if got := labelName(name, "other"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
