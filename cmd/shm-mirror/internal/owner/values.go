package owner

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"example.org/shm/internal/glob"
)

// item is a value that is published, or a part of one.
type item struct {
	key    string
	entry  shm.Entry
	part   int
	parts  int
	ring   bool
	torn   bool
	about  []byte // the description
	layout string // that about has
	sent   bool   // since all was to be sent
	again  bool   // to be sent though it has not changed
	large  int    // if not 0: it is larger than a message, of which the server takes so many bytes
	seen   bool   // commit is valid
	last   []byte // of a value without numbers of its own: what it was at the last look
	count  uint64 // of such a value: how often it had changed then; 0 before the first look
	commit uint64 // of what was sent; of a ring, the newest value that was sent
	sure   uint64 // of a ring: the newest value that a server has for sure
}

// kindOf says whether values of a type are published if nobody names them, and whether a
// copy may be torn. Locks are never published.
func kindOf(typ string) (mirrored, torn, never bool) {
	name, _, _ := strings.Cut(typ, "[")
	switch name {
	case "Mutex", "Mutexes":
		return false, false, true
	case "Array", "RawArray", "RawStruct", "CharArray":
		return false, true, false
	case "RawValue": // a number is one load, but nobody promises a reader anything
		return false, true, false
	}
	return true, false, false
}

// matches reports whether a name fits one of the globs.
func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return glob.Match(g, name) })
}

// idle tells which globs match nothing, once there is a value.
func (r *run) idle() {
	if r.told["globs"] {
		return
	}
	for flag, globs := range map[string][]string{"-allow": r.o.Allow, "-raw": r.o.Raw, "-writable": r.o.Writable} {
		for _, g := range globs {
			found := g == "*"
			for e := range r.segment.Entries() {
				r.told["globs"] = true
				mirrored, torn, never := kindOf(e.Type())
				fits := flag == "-allow" && mirrored || flag == "-raw" && torn || flag == "-writable" && !never
				found = found || fits && glob.Match(g, e.Name)
			}
			if !found && r.told["globs"] {
				r.o.Log("%s %q matches no value of %s that it is for", flag, g, r.o.Path)
			}
		}
	}
}

// refresh finds values that are new, or have grown. The new ones are sent at once.
func (r *run) refresh() {
	if r.segment == nil {
		return
	}
	r.idle()
	before := len(r.order)
	defer func() {
		switch n := len(r.order); {
		case n == 0:
			r.once("", "no value of %s is to be published yet", r.o.Path)
		case n != before:
			r.left = n
		}
	}()
	for e := range r.segment.Entries() {
		mirrored, torn, never := kindOf(e.Type())
		if never || !(mirrored && matches(r.o.Allow, e.Name) || torn && matches(r.o.Raw, e.Name)) {
			continue
		}
		parts := e.Parts()
		first := r.items[r.o.Origin.Key(e.Name, 0, parts)]
		if first != nil && first.layout == e.Layout.Format {
			continue
		}
		d, err := e.Description()
		if err != nil {
			r.once(e.Name, "%v", err)
			continue
		}
		about, err := json.Marshal(d)
		if err != nil {
			r.once(e.Name, "%v", err)
			continue
		}
		r.mu.Lock()
		for i := range parts {
			key := r.o.Origin.Key(e.Name, i, parts)
			it := r.items[key]
			if it == nil {
				it = &item{key: key}
				r.items[key] = it
				r.order = append(r.order, it)
			}
			it.entry, it.part, it.parts, it.torn, it.about, it.layout = e, i, parts, torn, about, e.Layout.Format
			it.ring = strings.HasPrefix(e.Type(), "Ring[")
			it.sent = false
		}
		r.mu.Unlock()
	}
}

// look sends the value if it has changed, or is to be sent again.
func (r *run) look(it *item) {
	switch {
	case it.large != 0 && it.large == r.conn.Limit():
		return
	case it.ring:
		r.stream(it)
		return
	}
	b, commit, err := r.bytes(it)
	if err != nil {
		r.once(it.key, "%v", err)
		return
	}
	if it.sent && !it.again && commit == it.commit {
		return
	}
	if !r.send(it, commit, b) {
		return
	}
	if it.seen && commit > it.commit+1 {
		r.stats.conflated += commit - it.commit - 1
	}
	it.sent, it.seen, it.again, it.commit = true, true, false, commit
}

// bytes returns what the value is and the number of its commit. A value without numbers of
// its own has the number of changes that were seen.
func (r *run) bytes(it *item) (b []byte, commit uint64, err error) {
	if published(it.entry) {
		return it.entry.Bytes(it.part)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, _, err = it.entry.Bytes(it.part); err != nil {
		return nil, 0, err
	}
	return b, it.observe(b), nil
}

// observe takes note of what the value is, and returns its number.
func (it *item) observe(b []byte) uint64 {
	if it.count == 0 || !bytes.Equal(b, it.last) {
		it.count++
		it.last = b
	}
	return it.count
}

func published(e shm.Entry) bool { return e.Access == shm.AccessPublished }

// maxBatch is how many bytes of a ring are in a message, unless a single value has more.
const maxBatch = 1 << 20

// stream sends what was appended to a ring since the last look, or as much of it as fits
// in some messages. Of a ring that is empty it sends the description, once.
func (r *run) stream(it *item) {
	size := it.entry.Layout.Size
	var batch []byte
	flush := func(newest uint64) bool {
		if len(batch) == 0 {
			return true
		}
		if !r.send(it, newest, batch) {
			return false
		}
		it.commit = newest
		batch = batch[:0]
		return true
	}
	newest := it.commit
	for seq, b := range it.entry.Since(it.commit) {
		if seq != newest+1 && !flush(newest) { // the numbers in a message have no gap
			return
		}
		if len(batch)+size > min(maxBatch, r.room(it)) && !flush(newest) {
			return
		}
		batch = append(batch, b...)
		newest = seq
	}
	if flush(newest) && newest == 0 && !it.sent {
		it.sent = r.send(it, 0, nil)
	}
}

// room returns how many bytes of a value fit in a message.
func (r *run) room(it *item) int {
	return max(r.conn.Limit()-wire.Overhead-len(it.about), 0)
}

// send sends a value, unless it does not fit in a message, and reports whether it did.
// Nobody acknowledges the message: the next heartbeat is acknowledged, and it is behind
// all messages before it.
func (r *run) send(it *item, commit uint64, b []byte) bool {
	if len(b) > r.room(it) {
		if it.large == 0 {
			r.large++
			r.once(it.key, "value %q has %d bytes, and a message at most %d: it is left out", it.entry.Name, len(b), r.room(it))
		}
		it.large = r.conn.Limit()
		return false
	}
	if it.large != 0 { // the server takes more by now
		it.large = 0
		r.large--
	}
	v := wire.Value{
		Epoch: r.epoch, Commit: commit, Sent: time.Now(), Part: it.part, Parts: it.parts, Torn: it.torn, Order: wire.NativeOrder,
		Description: it.about, Bytes: b,
	}
	r.buffer = v.Append(r.buffer[:0])
	if err := r.conn.NC.Publish(r.conn.Subject(it.key), r.buffer); err != nil {
		r.doubt = true
		return false
	}
	r.pace.sent += len(r.buffer)
	r.stats.published++
	return true
}
