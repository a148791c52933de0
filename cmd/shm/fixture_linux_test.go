package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
)

// roleVariable makes the test binary a program that uses a segment. Its value is the
// role and the segment's name.
const roleVariable = "SHM_TOOL_TEST_ROLE"

// settings is a struct in the segments of the tests.
type settings struct {
	Limit int32
	Debug bool
	Name  [8]byte `shm:"name,char"`
	Grid  [2]struct{ X, Y int16 }
}

// board is what the programs of the tests share.
type board struct {
	Requests shm.Atomic[uint64]       `shm:"requests,unit=requests,help=served since the start"`
	Load     shm.Value[float64]       `shm:"load,help=of the last minute, 1 is a core"`
	Uptime   shm.Value[time.Duration] `shm:"uptime"`
	Started  shm.RawValue[int64]      `shm:"started,hint=time"`
	Cache    shm.RawValue[int64]      `shm:"cache,unit=bytes"`
	Version  shm.String               `shm:"version,len=16"`
	Config   shm.Struct[settings]     `shm:"config"`
	Samples  shm.Array[int32]         `shm:"samples,len=4"`
	Lots     shm.RawArray[uint8]      `shm:"lots,len=64"`
	Lock     *shm.Mutex               `shm:"lock"`
	Tag      shm.RawStruct[[8]byte]   `shm:"tag,hint=text"`
	Hostile  shm.CharArray            `shm:"odd name.x[1]=2,len=16,unit=\x1b]0;x\x07,help=\u202e\u009b2J"`
}

// programs has what the test binary can be.
var programs = map[string]func(seg *shm.Segment, b *board) error{
	"make": func(_ *shm.Segment, b *board) error {
		b.Requests.Store(41)
		b.Load.Store(0.25)
		b.Uptime.Store(90 * time.Second)
		b.Started.Set(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC).UnixNano())
		b.Cache.Set(3 << 20)
		b.Config.Store(settings{Limit: 8, Name: [8]byte{'a', '"'}})
		b.Samples.Store(1, -7)
		b.Tag.Set([8]byte{'x', 'y'})
		if err := b.Hostile.SetValue("\x1b]2;owned\x07"); err != nil {
			return err
		}
		return b.Version.Store("2.1")
	},
	"spin": spin,
	"busy": func(_ *shm.Segment, b *board) error {
		return obey(func() {
			for range 20_000 {
				b.Requests.Add(4)
				if b.Requests.Load()%40 < 4 {
					b.Config.Update(func(c *settings) { c.Limit++ })
				}
				b.Load.Store(math.Sin(float64(b.Requests.Load()) / 1000))
				time.Sleep(10 * time.Millisecond)
			}
		})
	},
	"sprint": func(_ *shm.Segment, b *board) error {
		n, begun := 0, time.Now()
		for time.Since(begun) < time.Second {
			for range 10_000 {
				b.Requests.Add(1)
			}
			n += 10_000
		}
		wall := time.Since(begun)
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			return err
		}
		cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
		fmt.Println(float64(n)/wall.Seconds(), float64(n)/cpu.Seconds())
		return nil
	},
	"guard": func(_ *shm.Segment, b *board) error {
		b.Lock.Lock()
		return obey(func() {})
	},
	"gauge": func(seg *shm.Segment, _ *board) error {
		g, err := shm.NewGauge[int64](seg, "busy")
		if err != nil {
			return err
		}
		g.Set(5)
		return obey(func() {})
	},
	"attach": func(*shm.Segment, *board) error { return obey(func() {}) },
	"hold": func(_ *shm.Segment, b *board) error {
		var err error
		b.Config.Update(func(c *settings) {
			c.Limit++
			err = obey(func() {})
		})
		fmt.Println("released")
		return err
	},
}

// obey prints ready and reads until its standard input ends.
func obey(f func()) error {
	fmt.Println("ready")
	f()
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// runRole runs the role of this process, if it has one.
func runRole() (status int, ran bool) {
	role, name, _ := strings.Cut(os.Getenv(roleVariable), " ")
	if role == "" {
		return 0, false
	}
	err := func() error {
		if role == "showcase" {
			return runShowcase(name)
		}
		seg, err := shm.Open(name, nil)
		if err != nil {
			return err
		}
		var b board
		if err := shm.Bind(seg, &b); err != nil {
			return err
		}
		return programs[role](seg, &b)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// program is a running program of a role.
type program struct {
	*exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
}

// start starts a program and waits until it is ready. It is killed when the test ends.
func start(t *testing.T, role, segment string) *program {
	t.Helper()
	return startProgram(t, os.Args[0], append(os.Environ(), roleVariable+"="+role+" "+segment))
}

// startProgram is start of a file with a test binary and an environment.
func startProgram(t *testing.T, file string, environment []string) *program {
	t.Helper()
	cmd := exec.Command(file, "-test.run=^$")
	cmd.Env = environment
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{cmd, stdin, bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	p.expect(t, "ready")
	return p
}

// expect reads the next line of the program.
func (p *program) expect(t *testing.T, want string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		t.Fatalf("the program says %q (%v), want %q", p.lines.Text(), p.lines.Err(), want)
	}
}

func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// fixture makes a segment with a value of each kind, which nobody uses, and returns its
// name, which is a path.
func fixture(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "board")
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVariable+"=make "+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return name
}

// result is what the tool has printed.
type result struct {
	status         int
	stdout, stderr string
}

// shmTool runs the tool.
func shmTool(t *testing.T, args ...string) result {
	t.Helper()
	r := prepare(t, args...)
	status := r.status()
	return result{status, r.stdout.String(), r.stderr.String()}
}

// steady replaces what differs between runs: the directory of the segment, pids,
// offsets, times and the program's name.
func steady(t *testing.T, text, segment string, pids ...int) string {
	t.Helper()
	if strings.Contains(text, filepath.Dir(segment)) { // the width of a table depends on it
		text = regexp.MustCompile(`([ ─])[ ─]+`).ReplaceAllString(text, "$1")
	}
	text = strings.ReplaceAll(text, filepath.Dir(segment), "DIR")
	for _, pid := range pids {
		text = strings.ReplaceAll(text, fmt.Sprint(pid), "PID")
	}
	for _, r := range [][2]string{
		{`"pid":( ?)[1-9]\d*`, `"pid":${1}1`},
		{`"ns_pid": [1-9]\d*`, `"ns_pid": 1`},
		{`"offset":( ?)\d+`, `"offset":${1}64`},
		{`"namespace": "\d+"`, `"namespace": "1"`},
		{`"taken": "[^"]*"`, `"taken": "2026-01-02T03:04:05Z"`},
		{`"held_for_seconds": [\d.e-]+`, `"held_for_seconds": 1`},
		{`\b\d+(\.\d+)?ms\b`, `200ms`},
		{`this user may not see the mappings of [^"\n]*\n`, ``},
		{`\w*shm\.test`, `PROGRAM`},
		{` +\n`, "\n"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

// steadyTimes replaces the times of lines.
func steadyTimes(text string) string {
	text = regexp.MustCompile(`"at":"[^"]*"`).ReplaceAllString(text, `"at":"2026-01-02T03:04:05Z"`)
	return regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `).ReplaceAllString(text, "03:04:05.000 ")
}
