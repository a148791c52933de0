//go:build linux

package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"example.org/shm"
	"github.com/charmbracelet/x/ansi"
)

// driver drives a model as the terminal does.
type driver struct {
	*model
	t   *testing.T
	now time.Time
}

func newDriver(t *testing.T, s *shm.Segment, name string) *driver {
	d := &driver{newModel(NewSampler(s, name, func(string) bool { return true }), "segment", time.Second), t, time.Now()}
	d.send(tea.WindowSizeMsg{Width: 120, Height: 24})
	return d
}

func (d *driver) send(msg tea.Msg) tea.Cmd {
	_, cmd := d.Update(msg)
	return cmd
}

// press presses keys: characters, or one of those that have names.
func (d *driver) press(keys ...string) (cmd tea.Cmd) {
	codes := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "space": tea.KeySpace, "end": tea.KeyEnd, "pgdown": tea.KeyPgDown}
	for _, k := range keys {
		key := tea.Key{Code: codes[k]}
		switch {
		case k == "ctrl+c":
			key = tea.Key{Code: 'c', Mod: tea.ModCtrl}
		case key.Code == 0:
			key = tea.Key{Code: []rune(k)[0], Text: k}
		}
		cmd = d.send(tea.KeyPressMsg(key))
	}
	return cmd
}

// look lets a second pass.
func (d *driver) look() {
	d.now = d.now.Add(time.Second)
	d.send(look(d.now))
}

// lines returns the lines on the screen, without colours.
func (d *driver) lines() []string {
	return strings.Split(ansi.Strip(d.View().Content), "\n")
}

// names returns the names of the values on the screen, in their order.
func (d *driver) names() (names []string) {
	for _, line := range d.lines() {
		if first, _, _ := strings.Cut(line, " "); strings.HasPrefix(first, "v-") {
			names = append(names, first)
		}
	}
	return names
}

func (d *driver) want(what string, names ...string) {
	d.t.Helper()
	if got := d.names(); !slices.Equal(got, names) {
		d.t.Errorf("%s: the screen has %q, want %q\n%s", what, got, names, strings.Join(d.lines(), "\n"))
	}
}

// TestKeys presses each key.
func TestKeys(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct {
		A    shm.Atomic[int64]    `shm:"v-a,unit=m,help=the first"`
		B    shm.Atomic[int64]    `shm:"v-b"`
		Ab   shm.Value[float64]   `shm:"v-ab"`
		Text shm.String           `shm:"v-text,len=8"`
		Odd  shm.CharArray        `shm:"v-odd,len=16"`
		Size shm.RawValue[uint64] `shm:"v-size,unit=bytes"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.A.Store(1)
	if err := b.Odd.SetValue("\x1b]0;x\x07"); err != nil {
		t.Fatal(err)
	}
	d := newDriver(t, s, "")
	if text := d.View().Content; strings.Contains(text, "\x07") {
		t.Errorf("an escape sequence of a text is on the screen: %q", text)
	}
	all := []string{"v-a", "v-b", "v-ab", "v-text", "v-odd", "v-size"}
	d.want("at first", all...)

	d.look()
	b.Ab.Store(1.5)
	d.look()
	b.B.Store(2)
	d.look()
	d.press("s")
	d.want("by change", "v-b", "v-ab", "v-a", "v-text", "v-odd", "v-size")
	d.press("s")
	d.want("in order", all...)

	d.press("z")
	d.want("without zeros", "v-a", "v-b", "v-ab", "v-odd")
	d.press("z")

	d.press("/", "a")
	d.want("a filter of one letter", "v-a", "v-ab")
	d.press("b")
	d.want("a filter of two", "v-ab")
	d.press("q") // a letter of the filter
	d.want("a filter that nothing matches")
	d.press("esc")
	d.want("without a filter", all...)
	d.press("/", "t", "e", "x", "enter", "z")
	d.want("a filter, and without zeros")
	d.press("z", "esc")
	d.want("without either", all...)

	d.press("space")
	b.A.Store(77)
	d.look()
	if text := strings.Join(d.lines(), "\n"); strings.Contains(text, "77") || !strings.Contains(text, "paused") {
		t.Errorf("paused:\n%s", text)
	}
	d.press("space")
	d.look()
	if text := strings.Join(d.lines(), "\n"); !strings.Contains(text, "77") || strings.Contains(text, "paused") {
		t.Errorf("not paused any more:\n%s", text)
	}

	d.press("?")
	if text := strings.Join(d.lines(), "\n"); !strings.Contains(text, "Atomic[int64]") || !strings.Contains(text, "the first") || !strings.Contains(text, "unit m") {
		t.Errorf("help:\n%s", text)
	}
	d.press("down", "down")
	if text := strings.Join(d.lines(), "\n"); !strings.Contains(text, "Value[float64]") {
		t.Errorf("help of the third:\n%s", text)
	}
	// The selected value stays selected when others come before it.
	d.press("s")
	if v := d.selected(); v == nil || v.Name != "v-ab" {
		t.Errorf("sorted, %+v is selected", v)
	}
	d.press("esc", "s")

	if cmd := d.press("q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
	if cmd := d.press("ctrl+c"); cmd == nil || cmd() != tea.Interrupt() {
		t.Error("Ctrl-C does not interrupt")
	}
}

// TestShort writes numbers as their hints say.
func TestShort(t *testing.T) {
	for _, c := range []struct {
		hint, unit string
		x          float64
		want       string
	}{
		{"duration", "", 90.4e9, "1m30s"}, {"duration", "", 1.5e6, "1.5ms"}, {"time", "", 3723e9, "01:02:03"}, {"", "bytes", 3 << 20, "3.0 MiB"},
		{"", "bytes", 3, "3"}, {"", "", 1e6, "1000000"}, {"", "", 1e9, "1e+09"}, {"", "", 0.12345, "0.1235"},
	} {
		if got := (&Series{Entry: shm.Entry{Hint: c.hint, Unit: c.unit}}).short(c.x); got != c.want {
			t.Errorf("%v with hint %q and unit %q is %q, want %q", c.x, c.hint, c.unit, got, c.want)
		}
	}
}

// TestSizes draws the screen in many sizes. No line is wider, and there are not more.
func TestSizes(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 50 {
		name := fmt.Sprintf("v-%d-世界世界世界世界世界世界", i)
		if _, err := shm.NewAtomic(s, name, int64(i)<<50); err != nil {
			t.Fatal(err)
		}
	}
	d := newDriver(t, s, "")
	for width := 8; width <= 140; width += 22 {
		for _, height := range []int{4, 8, 24} {
			for _, help := range []bool{false, true} {
				d.send(tea.WindowSizeMsg{Width: width, Height: height})
				if d.help != help {
					d.press("?")
				}
				d.press("end")
				lines := d.lines()
				if len(lines) > max(height, 4+aboutLines) || !help && len(lines) > height {
					t.Errorf("%d by %d, help %v: %d lines", width, height, help, len(lines))
				}
				for _, line := range lines {
					if w := lipgloss.Width(line); w > width {
						t.Errorf("%d by %d: a line of %d: %q", width, height, w, line)
					}
				}
				if v := d.selected(); v == nil || v.Entry.Name[:4] != "v-49" {
					t.Errorf("%d by %d: the end is %+v", width, height, v)
				}
				if names := d.names(); height == 24 && width > 100 && (len(names) == 0 || !strings.HasPrefix(names[len(names)-1], "v-49")) {
					t.Errorf("%d by %d: the screen ends with %q", width, height, names)
				}
			}
		}
	}
}

// TestScreenOfReplaced marks a segment whose name leads to another file.
func TestScreenOfReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	s, err := shm.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := newDriver(t, s, path)
	if line := d.lines()[0]; strings.Contains(line, "REPLACED") {
		t.Error(line)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.look()
	}
	d.title = strings.Repeat("a long name ", 20)
	for _, width := range []int{120, 20} { // where the name and the reason are cut
		d.send(tea.WindowSizeMsg{Width: width, Height: 24})
		if line := d.lines()[0]; !strings.Contains(line, "REPLACED") {
			t.Error(line)
		}
	}
}

// TestPaste pastes a filter.
func TestPaste(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"v-one", "v-two"} {
		if _, err := shm.NewAtomic[int64](s, name, 0); err != nil {
			t.Fatal(err)
		}
	}
	d := newDriver(t, s, "")
	d.send(tea.PasteMsg{Content: "two"})
	d.want("pasted without a filter", "v-one", "v-two")
	d.press("/")
	d.send(tea.PasteMsg{Content: "two"})
	d.want("pasted into the filter", "v-two")
}
