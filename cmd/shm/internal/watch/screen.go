package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/table"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// ErrInterrupted is the error of Screen if the user has pressed Ctrl-C.
var ErrInterrupted = tea.ErrInterrupted

// Screen runs the full screen until the user quits or ctx is done.
func Screen(ctx context.Context, s *Sampler, title string, every time.Duration, in, out *os.File) error {
	m := newModel(s, title, every)
	m.ascii = form.ASCIIOnly(out)
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithFPS(framesPerSecond)).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// look is the message that it is time to look again.
type look time.Time

// model is what the screen shows.
type model struct {
	sampler *Sampler
	title   string
	every   time.Duration

	all    []*Series
	shown  []*Series // of all: what the filter leaves, in order
	cursor int       // index of the selected value in shown
	top    int       // index of the first value on the screen
	table  table.Model
	filter textinput.Model

	width, height int
	now           time.Time
	damage        error
	byChange      bool // sorted by the last change
	paused        bool
	hideZero      bool
	filtering     bool // keys go to the filter
	help          bool
	ascii         bool // the terminal shows ASCII alone
}

// framesPerSecond is how often the screen is drawn at most. Each time wakes the program, even
// if there is nothing to draw.
const framesPerSecond = 20

// keys is the line at the bottom.
const keys = "q quit  / filter  s sort by change  space pause  z hide zero  ? about the value"

// aboutLines is how many lines the help pane has.
const aboutLines = 4

func newModel(s *Sampler, title string, every time.Duration) *model {
	m := &model{sampler: s, title: title, every: every, width: 80, height: 24, table: table.New(table.WithFocused(true)), filter: textinput.New()}
	m.filter.Prompt = "filter: "
	m.filter.SetVirtualCursor(true)
	styles := table.DefaultStyles()
	styles.Header = lipgloss.NewStyle().Bold(true).PaddingRight(1)
	styles.Cell = lipgloss.NewStyle().PaddingRight(1)
	styles.Selected = lipgloss.NewStyle().Reverse(true)
	m.table.SetStyles(styles)
	m.sample(time.Now())
	return m
}

func (m *model) Init() tea.Cmd { return m.tick() }

func (m *model) tick() tea.Cmd {
	return tea.Tick(m.every, func(t time.Time) tea.Msg { return look(t) })
}

// sample looks at the values.
func (m *model) sample(now time.Time) {
	m.now = now
	var damage error
	if m.all, damage = m.sampler.Look(now); damage != nil {
		m.damage = damage
	}
	m.arrange()
}

// Update handles a key, a new size of the window, or the time to look again.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.arrange()
		return m, nil
	case look:
		if !m.paused {
			m.sample(time.Time(msg))
		}
		return m, m.tick()
	case tea.PasteMsg:
		if m.filtering {
			return m.filterWith(msg)
		}
	case tea.KeyPressMsg:
		if msg.String() == "ctrl+c" {
			return m, tea.Interrupt
		}
		if m.filtering {
			return m.filterKey(msg)
		}
		return m.key(msg)
	}
	return m, nil
}

// filterKey handles a key while the user types a filter.
func (m *model) filterKey(msg tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	switch msg.String() {
	case "esc":
		m.filter.Reset()
		fallthrough
	case "enter":
		m.filtering = false
		m.filter.Blur()
		m.arrange()
		return m, nil
	}
	return m.filterWith(msg)
}

// filterWith changes the filter by what the user types or pastes.
func (m *model) filterWith(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	m.filter, cmd = m.filter.Update(msg)
	m.arrange()
	return m, cmd
}

// key handles a key.
func (m *model) key(msg tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	switch msg.String() {
	case "q":
		return m, tea.Quit
	case "/":
		m.filtering = true
		return m, m.filter.Focus()
	case "s":
		m.byChange = !m.byChange
	case "space", " ", "p":
		m.paused = !m.paused
	case "z":
		m.hideZero = !m.hideZero
	case "?":
		m.help = !m.help
	case "esc":
		m.help = false
		m.filter.Reset()
	case "up", "k":
		m.cursor--
	case "down", "j":
		m.cursor++
	case "pgup", "b":
		m.cursor -= m.room()
	case "pgdown", "f":
		m.cursor += m.room()
	case "home", "g":
		m.cursor = 0
	case "end", "G":
		m.cursor = len(m.shown) - 1
	default:
		return m, nil
	}
	m.cursor = min(max(m.cursor, 0), max(len(m.shown)-1, 0))
	m.arrange()
	return m, nil
}

// selected returns the value under the cursor, or nil.
func (m *model) selected() *Series {
	if m.cursor >= len(m.shown) {
		return nil
	}
	return m.shown[m.cursor]
}

// arrange chooses and sorts the values, and fills the table with those that have room.
func (m *model) arrange() {
	selected := m.selected()
	m.choose()
	if i := slices.Index(m.shown, selected); i >= 0 && m.cursor > 0 { // at the top it stays there
		m.cursor = i
	}
	m.cursor = min(m.cursor, max(len(m.shown)-1, 0))
	room := m.room()
	m.top = min(max(m.top, m.cursor-room+1), m.cursor, max(len(m.shown)-room, 0))
	visible := m.shown[m.top:min(m.top+room, len(m.shown))]
	rows := make([]table.Row, 0, room)
	for _, v := range visible {
		rows = append(rows, m.row(v))
	}
	m.table.SetRows(nil) // rows and columns fit each other at any time
	m.table.SetColumns(m.columns())
	m.table.SetRows(rows)
	m.table.SetWidth(m.width)
	m.table.SetHeight(room + 1)
	m.table.SetCursor(m.cursor - m.top)
}

// choose fills shown.
func (m *model) choose() {
	m.shown = m.shown[:0]
	text := strings.ToLower(m.filter.Value())
	var still []*Series // those that have not changed keep their order, and go last
	for _, v := range m.all {
		switch {
		case !strings.Contains(v.lower, text), m.hideZero && v.Zero():
		case m.byChange && v.Changed.IsZero():
			still = append(still, v)
		default:
			m.shown = append(m.shown, v)
		}
	}
	if m.byChange {
		slices.SortStableFunc(m.shown, func(a, b *Series) int { return b.Changed.Compare(a.Changed) })
		m.shown = append(m.shown, still...)
	}
}

// room returns how many values have room on the screen.
func (m *model) room() int {
	others := 3 // the title, the names of the columns, and the keys
	if m.help {
		others += aboutLines
	}
	return max(m.height-others, 1)
}

// View draws the screen.
func (m *model) View() tea.View {
	state := "every " + m.every.String()
	if m.paused {
		state = "paused"
	}
	head := fmt.Sprintf("%s  %d of %s  %s", m.title, len(m.shown), form.Count(len(m.all), "value"), state)
	switch {
	case errors.Is(m.damage, shm.ErrReplaced):
		head = "REPLACED  " + head + "  " + form.Line(m.damage.Error())
	case m.damage != nil:
		head = "DAMAGED  " + head + "  " + form.Line(m.damage.Error())
	}
	lines := []string{head, m.table.View()}
	if m.help {
		lines = append(lines, m.about()...)
	}
	foot := keys
	if m.filtering || m.filter.Value() != "" {
		foot = m.filter.View()
	}
	lines = append(lines, foot)
	for i, line := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(m.width).Render(line)
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// about returns what the help pane says of the selected value.
func (m *model) about() []string {
	lines := make([]string, aboutLines)
	v := m.selected()
	if v == nil {
		return lines
	}
	e := v.Entry
	lines[0] = v.Name + ": " + form.Text(e.Type()) + ", made by " + form.Name(e.Program) + fmt.Sprintf(" (pid %d)", e.Pid)
	lines[1] = form.Text(e.Help)
	if e.Unit != "" {
		lines[2] = "unit " + form.Text(e.Unit)
	}
	if e.Hint != "" {
		lines[2] = strings.TrimSpace(lines[2] + "  hint " + form.Text(e.Hint))
	}
	for i, l := range e.Locks() {
		if l.Held {
			lines[3] = fmt.Sprintf("lock %d: %v", i, l)
			break
		}
	}
	return lines
}
