package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
)

// apply takes note of a message that has arrived now.
func (a *agent) apply(key string, b []byte, now time.Time) {
	switch key {
	case a.metaKey:
		a.meta(b)
		return
	case a.beatKey:
		var beat wire.Beat
		if err := json.Unmarshal(b, &beat); err != nil || !a.known || beat.Epoch != a.epoch {
			return // of an agent that is not the current one
		}
		a.beat = beat
		// One that was kept by the server tells nothing of now: only its time could, and
		// clocks differ. Two different ones do.
		if sent := a.beat.Sent.UnixNano(); sent != a.lastBeat() {
			a.noteBeat(sent)
		}
		return
	}
	v, err := wire.Decode(b)
	if err != nil {
		a.refuse(key, a.part(key), err)
		return
	}
	if !a.known || v.Epoch != a.epoch {
		return // of an agent that is not the current one
	}
	k := a.part(key)
	err = a.prepare(key, k, &v)
	if err == nil {
		if !k.ring && k.has(v.Commit) {
			return
		}
		err = a.set(k, &v, now)
	}
	if err != nil {
		a.refuse(key, k, err) // the owner sends it again within half a minute, so it is tried again
		return
	}
	if k.refused {
		k.refused = false
		a.refused--
		a.st.Refused.Store(a.refused)
		if a.refused == 0 {
			a.store(a.st.Why, "")
		}
	}
	a.st.Applied.Add(1)
	a.st.Lag.Observe(now.Sub(v.Sent).Seconds())
}

// has reports whether the replica has this commit, or a newer one. Of a Gauge that this
// agent has not set so far, it has the number of the commit and not its value.
func (k *kept) has(commit uint64) bool {
	number := k.number.Load() // one more than the newest commit
	return commit < number && !(k.lost && commit+1 == number)
}

func (a *agent) part(key string) *kept {
	k := a.parts[key]
	if k == nil {
		k = &kept{}
		a.parts[key] = k
	}
	return k
}

// prepare makes the value in the replica, if it is not there or has another layout.
func (a *agent) prepare(key string, k *kept, v *wire.Value) error {
	if v.Order != wire.NativeOrder {
		return fmt.Errorf("the owner's processor has its bytes in the other order")
	}
	if k.about == "" || string(v.Description) != k.about {
		var d shm.Description
		if err := json.Unmarshal(v.Description, &d); err != nil {
			return fmt.Errorf("description %.200q: %w", v.Description, err)
		}
		if own(d.Name) {
			return fmt.Errorf("value %q: names of a replica's own values cannot be copied; a replica of a replica is made from the owner", d.Name)
		}
		if err := fits(&d, v); err != nil {
			return err
		}
		if v.Torn && !strings.Contains(d.Help, tornHelp) {
			d.Help = strings.TrimSpace(d.Help + " " + tornHelp)
		}
		e, err := a.segment.Make(d)
		if err != nil {
			return err
		}
		numbers := a.commits
		k.ring = isRing(e)
		if k.ring {
			numbers = a.offsets
		}
		if k.number, err = numbers.of(key); err != nil {
			return err
		}
		k.entry, k.about = e, string(v.Description)
		k.lost = strings.HasPrefix(e.Type(), "Gauge[")
	}
	if n := k.entry.Parts(); n != v.Parts {
		return fmt.Errorf("value %q: %d parts, and %d at the owner", k.entry.Name, n, v.Parts)
	}
	return nil
}

const tornHelp = "(may be torn)"

func isRing(e shm.Entry) bool { return strings.HasPrefix(e.Type(), "Ring[") }

// set makes the replica's value what the owner's was.
func (a *agent) set(k *kept, v *wire.Value, now time.Time) error {
	ctx := a.limit.at(now)
	if k.ring {
		return a.append(ctx, k, v)
	}
	if err := k.entry.SetBytes(ctx, v.Part, v.Bytes); err != nil {
		return err
	}
	k.lost = false
	k.number.Store(v.Commit + 1) // an agent killed before it stores the value once more
	return nil
}

// limit is a context that ends half a lockWithin to one lockWithin after it was asked for.
// One context and its timer are for many values.
type limit struct {
	ctx    context.Context
	cancel context.CancelFunc
	made   time.Time
}

func (l *limit) at(now time.Time) context.Context {
	if l.ctx == nil || now.Sub(l.made) > lockWithin/2 {
		l.end()
		l.ctx, l.cancel = context.WithTimeout(context.Background(), lockWithin)
		l.made = now
	}
	return l.ctx
}

func (l *limit) end() {
	if l.cancel != nil {
		l.cancel()
	}
}

// append appends to a ring what it does not have.
func (a *agent) append(ctx context.Context, k *kept, v *wire.Value) error {
	size := k.entry.Layout.Size
	n := uint64(len(v.Bytes) / size)
	if len(v.Bytes)%size != 0 || n > v.Commit || n == 0 && v.Commit != 0 {
		return fmt.Errorf("value %q: %d bytes for values of %d up to number %d", k.entry.Name, len(v.Bytes), size, v.Commit)
	}
	_, here, err := k.entry.Bytes(0)
	if err != nil {
		return err
	}
	first, done := v.Commit-n+1, here+k.number.Load()
	for i := range n { // none: the owner's is empty
		at := first + i
		if at <= done {
			continue
		}
		if at != done+1 {
			if done != 0 {
				a.st.Missed.Add(at - done - 1)
			}
			k.number.Store(at - 1 - here)
		}
		if err := k.entry.SetBytes(ctx, 0, v.Bytes[int(i)*size:int(i+1)*size]); err != nil {
			return err
		}
		here, done = here+1, at
	}
	return nil
}

// refuse counts a value that cannot be kept, and says why of the first one.
func (a *agent) refuse(key string, k *kept, err error) {
	if k.refused {
		return
	}
	k.refused = true
	a.refused++
	a.st.Refused.Store(a.refused)
	a.o.Log("%s: %s is refused: %v", a.o.Origin, key, err)
	if a.st.Why.Load() == "" {
		text := err.Error()
		a.store(a.st.Why, text[:min(len(text), a.st.Why.Cap())])
	}
}

func (a *agent) store(to shm.String, text string) {
	if err := to.Store(strings.ToValidUTF8(text, "?")); err != nil {
		a.o.Log("%s: %v", a.o.Origin, err)
	}
}
