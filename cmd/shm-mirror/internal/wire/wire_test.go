package wire

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKeysTellApart(t *testing.T) {
	o := Origin{"plant", "host.a"}
	seen := map[string]string{o.Meta(): "meta", o.Beat(): "beat"}
	for _, name := range []string{"META", "=META", "a", "a.0", "a b", "a*", ">", "ü", "\xff", "A", strings.Repeat("x", 255)} {
		k := o.Key(name, 0, 1)
		if was, twice := seen[k]; twice {
			t.Errorf("%q and %q have the key %q", name, was, k)
		}
		seen[k] = name
		if strings.ContainsAny(k, " *>\t") || strings.Count(k, ".") != 2 {
			t.Errorf("the key of %q is %q", name, k)
		}
		token := k[strings.LastIndex(k, ".")+1:]
		if back, err := Unescape(token); err != nil || back != name {
			t.Errorf("%q came back as %q, %v", name, back, err)
		}
		if from, err := OriginOf(k); err != nil || from != o {
			t.Errorf("%q is of %v, %v", k, from, err)
		}
	}
	if k := o.Key("a", 7, 9); k != "plant.host=2Ea.a.7" {
		t.Errorf("a row's key is %q", k)
	}
	for _, bad := range []string{"=", "=2", "=GG", "=61", "a.b", "=2e"} {
		if text, err := Unescape(bad); err == nil {
			t.Errorf("%q is %q", bad, text)
		}
	}
}

func TestOrigins(t *testing.T) {
	o, err := ParseOrigin("hostA/plant")
	if err != nil || o.Replica() != "plant@hostA" || o.String() != "hostA/plant" {
		t.Errorf("%v, %v", o, err)
	}
	for _, bad := range []string{"", "plant", "/plant", "host/", "a/b/c"} {
		if o, err := ParseOrigin(bad); err == nil {
			t.Errorf("%q is %v", bad, o)
		}
	}
}

func sample() Value {
	return Value{
		Epoch: NewEpoch(), Commit: 1<<63 + 5, Sent: time.Unix(3, 5), Part: 2, Parts: 3, Torn: true, Order: '<',
		Description: []byte(`{"name":"n"}`), Bytes: []byte{1, 2, 3},
	}
}

func TestPayload(t *testing.T) {
	v := sample()
	b := v.Append(nil)
	got, err := Decode(b)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v came back as %+v, %v", v, got, err)
	}
	for n := range len(b) - len(v.Bytes) {
		if _, err := Decode(b[:n]); err == nil {
			t.Errorf("%d of %d bytes were read", n, len(b))
		}
	}
	b[1]++
	if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("another version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	v := sample()
	f.Add(v.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if err != nil {
			return
		}
		if again := v.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x came back as %x", b, again)
		}
	})
}

func TestEpochText(t *testing.T) {
	e := NewEpoch()
	text, _ := e.MarshalText()
	var back Epoch
	if err := back.UnmarshalText(text); err != nil || back != e {
		t.Errorf("%v came back as %v, %v", e, back, err)
	}
	if err := back.UnmarshalText([]byte("00")); err == nil {
		t.Error("a short epoch was read")
	}
}

func TestCommitText(t *testing.T) {
	c := Commit{1<<64 - 1, NewEpoch()}
	text, _ := c.MarshalText()
	var back Commit
	if err := back.UnmarshalText(text); err != nil || back != c {
		t.Errorf("%v came back as %v, %v", c, back, err)
	}
	for _, bad := range []string{"", "41", "@", "41@", "x@" + c.Epoch.String(), "-1@" + c.Epoch.String(), "41@" + c.Epoch.String() + "0"} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is %v", bad, back)
		}
	}
}

func TestPast(t *testing.T) {
	var p Past
	var all []Epoch
	for range maxPast + 3 {
		e := NewEpoch()
		all = append(all, e)
		p = p.With(e, e, Epoch{})
	}
	if len(p) != maxPast || p[0] != all[len(all)-1] || slices.Contains(p, all[2]) || !slices.Contains(p, all[3]) {
		t.Errorf("%d epochs: %v of %v", len(p), p, all)
	}
	again := p.With(all[5])
	if len(again) != maxPast || again[0] != all[5] || again[1] != p[0] {
		t.Errorf("%v in front of %v is %v", all[5], p, again)
	}
}
