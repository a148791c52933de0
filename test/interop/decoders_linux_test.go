package interop_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/directory"
	"example.org/shm/internal/format"
	"example.org/shm/internal/format/formattest"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

var (
	decoderCases = flag.Int("decoders", 1500, "how many segments the test of the three decoders makes")
	decoderSeed  = flag.Uint64("decoderseed", 0, "the seed from which the test of the three decoders makes them; 0: a new one")
)

// Go, Python and C accept and refuse the same files, list the same values in them, and
// none of them crashes. The files are sound segments with some changes, most of them
// with checksums that match.
func TestDecodersAgree(t *testing.T) {
	dir := t.TempDir()
	root := shmtest.Root(t)
	seed := *decoderSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-decoderseed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	source := filepath.Join(root, "test/interop/testdata/c/decode.c")
	shmtest.Must(os.Stat(source))(t)
	c := shmtest.CProgram(t, "-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-I", filepath.Join(root, "c"), source)
	python := shmtest.Python(t, "")
	images := soundSegments(t, dir)
	accepted := 0
	const batch = 250
	for done := 0; done < *decoderCases; done += batch {
		n := min(batch, *decoderCases-done)
		paths := make([]string, n)
		for i := range paths {
			image := images[random.IntN(len(images))]
			if done+i >= len(images) { // the first ones are sound
				image = mutated(random, image)
			} else {
				image = images[done+i]
			}
			paths[i] = filepath.Join(dir, fmt.Sprint(i))
			if err := os.WriteFile(paths[i], image, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var inC, inPython []string
		var wg sync.WaitGroup
		wg.Go(func() { inC = decoded(t, exec.Command(c), paths) })
		wg.Go(func() {
			inPython = decoded(t, python.Command(filepath.Join(root, "test/interop/testdata/decode.py")), paths)
		})
		wg.Wait()
		for i, path := range paths {
			inGo := decodedByGo(t, path)
			if inGo == inC[i] && inGo == inPython[i] {
				if strings.HasSuffix(inGo, "end\n") {
					accepted++
				}
				if done+i < len(images) && !strings.HasSuffix(inGo, "end\n") {
					t.Errorf("sound segment %d: %s", done+i, inGo)
				}
				continue
			}
			kept := filepath.Join(os.TempDir(), fmt.Sprintf("decoders-%d-%d", seed, done+i))
			if err := os.WriteFile(kept, shmtest.Must(os.ReadFile(path))(t), 0o600); err != nil {
				t.Error(err)
			}
			t.Errorf("case %d, kept in %s:\nGo:\n%sC:\n%sPython:\n%s", done+i, kept, inGo, inC[i], inPython[i])
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d are accepted", accepted, *decoderCases)
}

// A segment whose locks are not on bytes of its file belongs to another system, or to
// another build: Go, Python and C refuse it, say that it is of another kind, and change
// nothing.
func TestOtherPlacesOfLocksAreRefused(t *testing.T) {
	dir, root := t.TempDir(), shmtest.Root(t)
	c := shmtest.CProgram(t, "-std=gnu11", "-O1", "-I", filepath.Join(root, "c"), filepath.Join(root, "test/interop/testdata/c/decode.c"))
	image := soundSegments(t, dir)[0]
	var paths, want []string
	for _, test := range []struct {
		place uint64
		want  string
	}{
		{format.Seal(0), ""}, {format.Seal(1 << 20), "refused: version\n"}, {format.Seal(3), "refused: version\n"},
		{1 << 20, "refused: format\n"},
	} {
		path := filepath.Join(dir, fmt.Sprint("place", len(paths)))
		binary.NativeEndian.PutUint64(image[unsafe.Offsetof(format.Header{}.Place):], test.place)
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		paths, want = append(paths, path), append(want, test.want)
	}
	inC := decoded(t, exec.Command(c), paths)
	inPython := decoded(t, shmtest.Python(t, "").Command(filepath.Join(root, "test/interop/testdata/decode.py")), paths)
	for i, path := range paths {
		inGo := decodedByGo(t, path)
		if inGo != inC[i] || inGo != inPython[i] || want[i] != "" && inGo != want[i] {
			t.Errorf("place %d: Go:\n%sC:\n%sPython:\n%swant %s", i, inGo, inC[i], inPython[i], want[i])
		}
	}
	if _, err := shm.Open(paths[1], nil); !errors.Is(err, shm.ErrVersion) {
		t.Errorf("Open returned %v", err)
	}
	if got := shmtest.Must(os.ReadFile(paths[1]))(t); binary.NativeEndian.Uint64(got[unsafe.Offsetof(format.Header{}.Place):]) != format.Seal(1<<20) {
		t.Error("the refused file has changed")
	}
}

// decoded returns what a program prints for each path.
func decoded(t *testing.T, cmd *exec.Cmd, paths []string) []string {
	results := make([]string, len(paths))
	var complaints strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Join(paths, "\n")+"\n"), &complaints
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	i := 0
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "error: ") { // what comes before the error may be listed or not
			results[min(i, len(results)-1)] = "ok\n"
		}
		if i == len(results) {
			t.Errorf("%s prints more than it was asked for: %q", cmd.Args[0], line)
			break
		}
		results[i] += line
		if line == "end\n" || strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "refused: ") {
			i++
		}
	}
	if err != nil || i < len(results) {
		t.Errorf("%s: %v, after %d of %d files\n%s", cmd.Args[0], err, i, len(results), complaints.String())
		for ; i < len(results); i++ {
			results[i] += "crashed\n"
		}
	}
	return results
}

// decodedByGo is what testdata/c/decode.c prints, by the Go library.
func decodedByGo(t *testing.T, path string) string {
	t.Helper()
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		return "refused: " + classOf(t, err) + "\n"
	}
	defer s.Close()
	f := s.File()
	start := make([]byte, format.TableOffset)
	shmtest.Must(f.ReadAt(start, 0))(t)
	size := shmtest.Must(sys.FileSize(f, path))(t)
	maximum := shmtest.Must(format.CheckHeader(start, size))(t).MaxSize
	b := shmtest.Must(mem.Map(f, path, maximum, min(size, maximum), true))(t)
	defer func() { _ = mem.Unmap(b) }()
	region := &mem.Region{Bytes: b, Path: path, ReadOnly: true}
	var d directory.Directory
	d.Init(region, mem.At[format.Header](region, 0), new(lease.Owner), directory.Home{})
	out := "ok\n"
	for r, err := range d.All(f) {
		if err != nil {
			return "ok\nerror: " + classOf(t, err) + "\n"
		}
		text, element := "", 0
		if r.Layout != nil {
			text, element = r.Layout.Format, r.Layout.Size
		}
		out += fmt.Sprintf("value\t%s\t%d\t%d\t%d\t%s\t%d\n", r.Name, r.Kind, r.Access, r.Count, text, element)
	}
	return out + "end\n"
}

func classOf(t *testing.T, err error) string {
	t.Helper()
	for sentinel, class := range map[error]string{shm.ErrFormat: "format", shm.ErrVersion: "version", shm.ErrInsecure: "insecure", shm.ErrFull: "full"} {
		if errors.Is(err, sentinel) {
			return class
		}
	}
	return "system"
}

// soundSegments returns files with a value of each kind, with a struct and a table that
// have grown, and with an index that has grown.
func soundSegments(t *testing.T, dir string) (images [][]byte) {
	t.Helper()
	type one struct {
		A int64
		B [3]struct {
			X float32
			C [5]byte `shm:"c,char"`
		}
	}
	type two struct {
		A int64
		B [3]struct {
			X float32
			C [5]byte `shm:"c,char"`
		}
		D [2][3]int16
		E bool
	}
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprint("sound", i))
		s := shmtest.Opened(shm.Open(path, &shm.Options{MaxSize: 1 << 20}))(t)
		var all struct {
			Raw     shm.RawValue[float64]     `shm:"raw value,unit=°C,hint=gauge,help=some help"`
			Waiting shm.Value[time.Duration]  `shm:"wait"`
			Count   shm.Atomic[uint32]        `shm:"count,hint=counter"`
			Raws    shm.RawArray[int16]       `shm:"raws,len=7"`
			Array   shm.Array[complex64]      `shm:"array,len=3"`
			Record  shm.RawStruct[one]        `shm:"record"`
			Struct  shm.Struct[one]           `shm:"struct"`
			Chars   shm.CharArray             `shm:"chars,len=9"`
			Text    shm.String                `shm:"Füße,len=5"`
			Lock    *shm.Mutex                `shm:"mutex"`
			Numbers shm.Struct[[2][2]float32] `shm:"numbers"`
		}
		if err := shm.Bind(s, &all); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			shmtest.Must(shm.NewStruct(s, "struct", two{}))(t)
		}
		for j := range i / 2 * 300 {
			shmtest.Must(shm.NewRawValue(s, fmt.Sprint("value", j), int8(1)))(t)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		images = append(images, shmtest.Must(os.ReadFile(path))(t))
	}
	return append(images, withCells(t, images[0]))
}

// withCells returns a segment that also has the kinds of value with rows, slots or
// cells, with the capacities that they usually have and others.
func withCells(t *testing.T, image []byte) []byte {
	t.Helper()
	lay := func(text string) *layout.Layout {
		l, err := layout.Parse(strings.ReplaceAll(text, "<", layout.ByteOrder))
		if err != nil {
			t.Fatal(err)
		}
		return &l
	}
	named := func(name string, access format.Access, kind format.Kind, count int64, l *layout.Layout) *format.Shape {
		return &format.Shape{Layout: l, Count: count, Access: access, Kind: kind, Label: format.Label{Name: name, Unit: "s", Help: "help"}}
	}
	b := bytes.Clone(image)
	for _, s := range []*format.Shape{
		named("atomics", format.Atomic, format.KindArray, 5, lay("<I")),
		named("locks", format.Locked, format.KindMutex, 7, nil),
		named("table", format.Published, format.KindArray, 3, lay("T{<q:a:<i:b:4x}")),
		named("numbers in rows", format.Published, format.KindArray, 2, lay("<h")),
		named("ring", format.Published, format.KindRing, 4, lay("T{<q:a:<i:b:}")),
		named("counter", format.Atomic, format.KindCounter, 0, lay("<Q")),
		named("float counter", format.Atomic, format.KindCounter, 0, lay("<d")),
		named("gauge", format.Atomic, format.KindGauge, 0, lay("<q")),
		named("histogram", format.Atomic, format.KindHistogram, 17, lay("<d")),
	} {
		b = appended(b, s, s.Room(), 0)
	}
	few := named("few cells", format.Atomic, format.KindGauge, 0, lay("<d"))
	b = appended(b, few, 2*few.Stride(), 0)
	table := recordNamed(b, "table")
	grown := named("table", format.Published, format.KindGrowth, 0, lay("T{<q:a:<i:b:<i:c:}"))
	grown.Unit, grown.Help = "", ""
	capacity := int64(binary.NativeEndian.Uint64(b[table+32:]))
	return appended(b, grown, capacity, table)
}

// A type of a struct or of rows may have as many bytes as an extent can count: Go, Python
// and C accept a record with so many, and refuse one with one byte more. Other values may
// be larger. The files have holes for what nobody reads.
func TestDecodersKnowTheLargestStruct(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		t.Skip("such values do not fit into the address space")
	}
	dir, root := t.TempDir(), shmtest.Root(t)
	c := shmtest.CProgram(t, "-std=gnu11", "-O1", "-I", filepath.Join(root, "c"), filepath.Join(root, "test/interop/testdata/c/decode.c"))
	named := func(access format.Access, kind format.Kind, count, size int64) *format.Shape {
		l, err := layout.Parse(fmt.Sprintf("(%d)%sB", size, layout.ByteOrder))
		if err != nil {
			t.Fatal(err)
		}
		return &format.Shape{Layout: &l, Count: count, Access: access, Kind: kind, Label: format.Label{Name: "large"}}
	}
	text := named(format.Published, format.KindChars, 5<<30, 1)
	text.Layout = layout.Chars
	var paths []string
	accepted := map[string]bool{}
	for i, test := range []struct {
		s  *format.Shape
		ok bool
	}{
		{named(format.Published, format.KindSingle, 0, 1<<32-1), true},
		{named(format.Published, format.KindSingle, 0, 1<<32), false},
		{named(format.Published, format.KindArray, 1, 1<<32-1), true},
		{named(format.Published, format.KindArray, 1, 1<<32), false},
		{named(format.Published, format.KindRing, 1, 5<<30), true},
		{named(format.Raw, format.KindSingle, 0, 5<<30), true},
		{text, true},
	} {
		path := filepath.Join(dir, fmt.Sprint("large", i))
		s := shmtest.Opened(shm.Open(path, &shm.Options{MaxSize: 64 << 30}))(t)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		meta, size := test.s.Encode(test.s.Room(), format.Maker{Pid: 1, Program: "test"}, 0)
		b := appendRecord(shmtest.Must(os.ReadFile(path))(t), meta, int64(len(meta)))
		ne := binary.NativeEndian
		lines, _ := format.Unseal(ne.Uint64(b[format.Line+8:]))
		end := int64(lines)*format.Line + size - int64(len(meta))
		for _, word := range []int{0, 8, 24} { // allocated, used, dirty
			ne.PutUint64(b[format.Line+word:], format.Seal(uint64(end)/format.Line))
		}
		if err := errors.Join(os.WriteFile(path, b, 0o600), os.Truncate(path, end)); err != nil {
			t.Fatal(err)
		}
		paths, accepted[path] = append(paths, path), test.ok
	}
	inC := decoded(t, exec.Command(c), paths)
	inPython := decoded(t, shmtest.Python(t, "").Command(filepath.Join(root, "test/interop/testdata/decode.py")), paths)
	for i, path := range paths {
		inGo := decodedByGo(t, path)
		if inGo != inC[i] || inGo != inPython[i] || strings.HasSuffix(inGo, "end\n") != accepted[path] {
			t.Errorf("case %d, want accepted %t:\nGo:\n%sC:\n%sPython:\n%s", i, accepted[path], inGo, inC[i], inPython[i])
		}
	}
}

// recordNamed returns the offset of the first record of a name.
func recordNamed(b []byte, name string) int64 {
	for at := int64(format.HeaderSize); ; at += int64(binary.NativeEndian.Uint64(b[at:])) {
		if bytes.HasPrefix(b[at+format.RecordFixed:], []byte(name)) {
			return at
		}
	}
}

// appended adds a record at the end of a segment. The index does not have it yet, as if
// its maker had died.
func appended(b []byte, s *format.Shape, capacity, older int64) []byte {
	meta, size := s.Encode(capacity, format.Maker{Pid: 1, Program: "test"}, older)
	return appendRecord(b, meta, size)
}

func appendRecord(b, meta []byte, size int64) []byte {
	ne := binary.NativeEndian
	lines, _ := format.Unseal(ne.Uint64(b[format.Line+8:]))
	used := int64(lines) * format.Line
	end := used + size
	b = append(b, make([]byte, max(0, int(end)-len(b)))...)
	copy(b[used:end], make([]byte, size))
	copy(b[used:end], meta)
	allocated, _ := format.Unseal(ne.Uint64(b[format.Line:]))
	ne.PutUint64(b[format.Line:], format.Seal(max(allocated, uint64(end)/format.Line)))
	ne.PutUint64(b[format.Line+8:], format.Seal(uint64(end)/format.Line))
	ne.PutUint64(b[format.Line+24:], format.Seal(uint64(end)/format.Line))
	return b
}

// someRecord returns a record of any kind, most of them nearly valid, with the right
// checksum.
func someRecord(random *rand.Rand, i int) (meta []byte, size int64) {
	formats := []string{"<q", "<Q", "<d", "<i", "<I", "<h", "<c", "<Zd", "<?", "T{<q:a:<i:b:4x}", "T{<h:x:}", "(3)<q", "(2,2)T{<b:c:}", ""}
	f := strings.ReplaceAll(formats[random.IntN(len(formats))], "<", layout.ByteOrder)
	s := &format.Shape{
		Access: format.Access(1 + random.IntN(4)), Kind: format.Kind(1 + random.IntN(10)),
		Label: format.Label{Name: fmt.Sprint("record", i)},
	}
	type pair struct {
		access format.Access
		kind   format.Kind
		format string
	}
	if random.IntN(3) > 0 { // one of those that have rows, slots or cells
		p := []pair{
			{format.Atomic, format.KindArray, f}, {format.Locked, format.KindMutex, ""}, {format.Published, format.KindArray, f},
			{format.Published, format.KindRing, f}, {format.Atomic, format.KindCounter, f}, {format.Atomic, format.KindGauge, f},
			{format.Atomic, format.KindHistogram, layout.ByteOrder + "d"},
		}[random.IntN(7)]
		s.Access, s.Kind, f = p.access, p.kind, p.format
	}
	if f != "" {
		if l, err := layout.Parse(f); err == nil {
			s.Layout = &l
		}
	}
	counts := []int64{0, 1, 1, 2, 3, 7, 8, 15, 16, 17, 100, 1023, 1024, 1025}
	s.Count = counts[random.IntN(len(counts))]
	if s.Kind == format.KindCounter || s.Kind == format.KindGauge || s.Kind == format.KindSingle {
		s.Count *= int64(random.IntN(8) / 7)
	}
	known := s.Layout != nil || s.Kind == format.KindMutex
	capacity, data := int64(random.IntN(1000)), int64(random.IntN(100))*format.Line
	if known {
		need, _ := s.SlotSize()
		stride := max(s.Stride(), 8)
		capacity = []int64{s.Room(), s.Room(), need, need, need + stride, need - stride, need + 8, need + 64, stride, 0}[random.IntN(10)]
		data = s.DataSize(max(capacity, 0))
		if data > 1<<20 {
			data = 64
		}
	}
	meta, _ = s.Encode(64, format.Maker{Pid: 1, Program: "test"}, 0)
	if random.IntN(4) == 0 {
		data += []int64{-64, 64, 128, 64 * s.Count}[random.IntN(4)]
	}
	size = int64(len(meta)) + max(0, min(data, 1<<20)/format.Line*format.Line)
	ne := binary.NativeEndian
	ne.PutUint64(meta, uint64(size))
	ne.PutUint64(meta[32:], uint64(capacity))
	switch random.IntN(8) {
	case 0: // a number that is likely to overflow
		ne.PutUint64(meta[[]int{16, 24, 32}[random.IntN(3)]:], boundaries[random.IntN(len(boundaries))])
	case 1: // a count that the data do not have
		ne.PutUint64(meta[16:], uint64(s.Count)+[]uint64{1, 1<<64 - 1, 1 << 61, 1<<63 - 1}[random.IntN(4)])
	case 2: // as many as there are, in no memory
		size = int64(len(meta)) + format.Line
		ne.PutUint64(meta, uint64(size))
		ne.PutUint64(meta[16:], 1<<63-1)
		ne.PutUint64(meta[32:], 0)
	}
	ne.PutUint32(meta[format.RecordCheck:], format.RecordChecksum(meta))
	return meta, size
}

// boundaries are those that are likely to overflow, or to be next to a limit.
var boundaries = []uint64{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 63, 64, 65, 112, 127, 128, 255, 256, 512, 516, 582, 1024, 4096, 32768, 65535, 65536, 1 << 24, 1<<24 + 1,
	1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<40 - 1, 1 << 40, 1 << 45, 1<<45 + 64, 1 << 61, 1<<62 - 1, 1 << 63, 1<<64 - 64, 1<<64 - 1,
}

// texts are pieces of names and formats.
var texts = []string{
	"<", ">", "@", "T{", "}", ":", "i", "q", "Q", "c", "?", "Zd", "x", "2x", "(", ")", "(2,3)", "(16)<c", "<i:x:", "00", "9999999999", ",", " ", "\x00",
	"ü", "\xff", "\xed\xa0\x80", "\xc0\x80", "\u00a0", "\u200b", "\u2028", "\U0010ffff", "\u0378", "\x7f", "\x80", "\n", "e\u0301",
}

// recordIn returns the offset of one of the records.
func recordIn(random *rand.Rand, b []byte, used int) int {
	var starts []int
	for at := format.HeaderSize; at < used-2*format.Line; {
		starts = append(starts, at)
		size := int64(binary.NativeEndian.Uint64(b[at:]))
		if size <= 0 || size > int64(used) {
			break
		}
		at += int(size)
	}
	return starts[random.IntN(len(starts))]
}

// mutated returns a copy of a segment with some changes.
func mutated(random *rand.Rand, image []byte) []byte {
	b := bytes.Clone(image)
	if random.IntN(3) == 0 { // with other records, and sometimes without other changes
		for i := range 1 + random.IntN(3) {
			meta, size := someRecord(random, i)
			b = appendRecord(b, meta, size)
		}
		if random.IntN(3) > 0 {
			return b
		}
	}
	ne := binary.NativeEndian
	lines, _ := format.Unseal(ne.Uint64(b[format.Line+8:]))
	used := int(lines) * format.Line
	somewhere := func(align int) int {
		off := random.IntN(3 * format.Line) // in the header
		if random.IntN(4) > 0 {
			off = format.HeaderSize + random.IntN(used-format.HeaderSize)
			if random.IntN(2) == 0 { // in what describes a value
				off = recordIn(random, b, used) + random.IntN(3*format.Line)
			}
		}
		return min(off, used-8) / align * align
	}
	for range 1 + random.IntN(3) {
		switch random.IntN(10) {
		case 0:
			b[somewhere(1)] ^= 1 << random.IntN(8)
		case 1:
			b[somewhere(1)] = byte(random.Uint32())
		case 2:
			copy(b[somewhere(1):used], texts[random.IntN(len(texts))])
		case 3: // a line in another's place
			copy(b[somewhere(format.Line):], b[somewhere(format.Line):][:format.Line])
		case 8: // the access, the kind or the hint of a value
			b[recordIn(random, b, used)+[]int{40, 41, 64}[random.IntN(3)]] = byte(random.IntN(12))
		case 9: // a code in its format
			at := recordIn(random, b, used)
			texts := at + format.RecordFixed + int(ne.Uint16(b[at+42:]))
			if n := int(ne.Uint32(b[at+44:])); n > 0 && n < 1000 && texts+n < used {
				i := texts + random.IntN(n)
				b[i] = "?bBchHiIqQfdZfZdTx{}():,0129<>"[random.IntN(30)]
			}
		case 4:
			if random.IntN(4) == 0 {
				b = b[:random.IntN(len(b))/format.Line*format.Line]
				if len(b) < used {
					return b
				}
			}
		default:
			width := 1 << random.IntN(4)
			n := boundaries[random.IntN(len(boundaries))]
			if random.IntN(3) == 0 {
				n = uint64(random.IntN(used))
			}
			var number [8]byte
			ne.PutUint64(number[:], n)
			if ne.Uint16([]byte{0, 1}) == 1 { // big-endian
				copy(b[somewhere(width):], number[8-width:])
			} else {
				copy(b[somewhere(width):], number[:width])
			}
		}
	}
	if random.IntN(8) > 0 {
		formattest.Forge(b)
	}
	return b
}
