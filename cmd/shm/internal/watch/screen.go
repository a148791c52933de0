package watch

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/table"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"example.org/shm/cmd/shm/internal/form"
)

// Screen runs the full screen until the user quits or ctx is done.
func Screen(ctx context.Context, s *Sampler, title string, every time.Duration, in io.Reader, out io.Writer) error {
	m := newModel(s, title, every)
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
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
	shown  []*Series
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
}

// keys is the line at the bottom.
const keys = "q quit  / filter  s sort by change  space pause  z hide zero  ? about the value"

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
	case tea.KeyPressMsg:
		if msg.String() == "ctrl+c" {
			return m, tea.Quit
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
	default:
		var cmd tea.Cmd
		m.table, cmd = m.table.Update(msg)
		return m, cmd
	}
	m.arrange()
	return m, nil
}

// arrange chooses and sorts the values, and fills the table.
func (m *model) arrange() {
	m.shown = m.shown[:0]
	text := strings.ToLower(m.filter.Value())
	for _, v := range m.all {
		if strings.Contains(strings.ToLower(v.Entry.Name), text) && !(m.hideZero && v.Zero()) {
			m.shown = append(m.shown, v)
		}
	}
	if m.byChange {
		slices.SortStableFunc(m.shown, func(a, b *Series) int { return cmp.Compare(b.Changed.UnixNano(), a.Changed.UnixNano()) })
	}
	const spark = 16
	name := 8
	for _, v := range m.shown {
		name = max(name, min(lipgloss.Width(form.Name(v.Entry.Name)), m.width/4))
	}
	columns := []table.Column{{Title: "name", Width: name}, {Title: "value", Width: 0}, {Title: "rate/s", Width: 9}, {Title: "min", Width: 9}, {Title: "max", Width: 9}, {Title: "", Width: spark}, {Title: "changed", Width: 8}, {Title: "lock", Width: 5}}
	if m.width < 100 { // the value is what matters
		columns[3].Width, columns[4].Width = 0, 0
	}
	left := m.width
	for _, c := range columns {
		if c.Width > 0 {
			left -= c.Width + 1
		}
	}
	columns[1].Width = max(left-1, 10)
	rows := make([]table.Row, 0, len(m.shown))
	for _, v := range m.shown {
		rows = append(rows, m.row(v, spark))
	}
	m.table.SetColumns(columns)
	m.table.SetRows(rows)
	m.table.SetWidth(m.width)
	foot := 1
	if m.help {
		foot += 4
	}
	m.table.SetHeight(max(m.height-2-foot, 3))
	if c := m.table.Cursor(); c >= len(rows) || c < 0 {
		m.table.SetCursor(max(len(rows)-1, 0))
	}
}

// row returns the cells of a value.
func (m *model) row(v *Series, spark int) table.Row {
	row := table.Row{form.Name(v.Entry.Name), v.Text, "", "", "", "", age(v.Changed, m.now), ""}
	if v.Number {
		row[2], row[3], row[4], row[5] = short(v.Rate), short(v.Min), short(v.Max), v.Sparkline(spark)
	}
	switch {
	case v.Dead:
		row[7] = "DEAD"
	case v.Held:
		row[7] = "held"
	}
	return row
}

// View draws the screen.
func (m *model) View() tea.View {
	state := "every " + m.every.String()
	if m.paused {
		state = "paused"
	}
	head := fmt.Sprintf("%s  %d of %s  %s", m.title, len(m.shown), form.Count(len(m.all), "value"), state)
	if m.damage != nil {
		head += "  damaged: " + form.Line(m.damage.Error())
	}
	lines := []string{lipgloss.NewStyle().MaxWidth(m.width).Render(head), m.table.View()}
	if m.help {
		lines = append(lines, m.about())
	}
	foot := keys
	if m.filtering || m.filter.Value() != "" {
		foot = m.filter.View()
	}
	v := tea.NewView(strings.Join(append(lines, lipgloss.NewStyle().MaxWidth(m.width).Render(foot)), "\n"))
	v.AltScreen = true
	return v
}

// about returns what the help pane says of the selected value.
func (m *model) about() string {
	i := m.table.Cursor()
	if i < 0 || i >= len(m.shown) {
		return strings.Repeat("\n", 3)
	}
	e := m.shown[i].Entry
	lines := []string{
		form.Name(e.Name) + ": " + form.Text(e.Type()),
		form.Text(e.Help),
		strings.TrimSpace("unit " + form.Text(e.Unit) + "  hint " + form.Text(e.Hint)),
		fmt.Sprintf("made by %s (pid %d)", form.Name(e.Program), e.Pid),
	}
	for i, line := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(m.width).Render(line)
	}
	return strings.Join(lines, "\n")
}

// age returns how long ago something was.
func age(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	d := now.Sub(at)
	if d < time.Second {
		return "now"
	}
	return d.Truncate(time.Second).String()
}

// short returns a number in few characters.
func short(x float64) string {
	if x == float64(int64(x)) && x > -1e7 && x < 1e7 {
		return strconv.FormatInt(int64(x), 10)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}
