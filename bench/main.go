// League lets every way to share a number between processes that can be had on this
// machine do the same work in the same run, in turn, and prints how they compare.
//
//	go run . [-rounds N] [-slice TIME] [-only NAMES] [-write DIR]
//
//	go run . curves [-span TIME] [-most N] [-only KEYS] [-write DIR]
//
// The second form measures this library alone, as processes, goroutines and values grow.
// It is a module of its own: nobody else needs the rivals. What is missing on the machine
// is left out, with a line that says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "worker" {
		if err := work(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "league:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == "curves" {
		run, args = runCurves, args[1:]
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "league:", err)
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// inProcess returns how to start workers of a rival in Go, which are this program. If serve
// is not nil, it starts a server first.
func inProcess(name string, serve func(ctx context.Context, dir string) (*exec.Cmd, error)) func(context.Context, string) (*ready, error) {
	return func(ctx context.Context, dir string) (_ *ready, err error) {
		own, err := os.Executable()
		if err != nil {
			return nil, err
		}
		r := &ready{worker: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, own, "worker", name, dir) }}
		if serve != nil {
			r.server, err = serve(ctx, dir)
		}
		return r, err
	}
}

// owner is a server in Go, which is this program too.
func owner(name string) func(context.Context, string) (*exec.Cmd, error) {
	return func(ctx context.Context, dir string) (*exec.Cmd, error) {
		own, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return serving(ctx, dir, own, "worker", name, dir)
	}
}

// rivals has this library first: all others are compared with it.
var rivals = []*rival{
	{name: "shm", note: "`Value` and `Struct` of this library, Go; attaching maps another file each time", prepare: inProcess("shm", nil)},
	{name: "sync.Mutex in one process", note: "no rival but the floor: plain memory under a mutex of one process, Go", prepare: inProcess("shm raw", nil), single: true},
	{name: "pthread", note: "glibc's mutex and condition with `PTHREAD_PROCESS_SHARED`, C; a mapped file has no names, so attaching is opening and mapping", prepare: compiled("pthread.c", "-pthread")},
	{name: "pthread, robust", note: "the same with `PTHREAD_MUTEX_ROBUST`", prepare: compiled("pthread.c", "-pthread", "-DROBUST")},
	{name: "Boost.Interprocess", note: "`managed_shared_memory`, C++", prepare: compiled("boost.cc", "-pthread")},
	{name: "iceoryx", note: "publisher and subscribers of records through its daemon RouDi, C++: no counter, no lock; a read takes the newest sample, or the last one again", prepare: prepareIceoryx},
	{name: "LMDB", note: "`MDB_WRITEMAP`, `MDB_NOSYNC`, C; it has nothing to wait with", prepare: compiled("lmdb.c", "-llmdb")},
	{name: "SQLite", note: "WAL, `synchronous=OFF`, prepared statements, C; it has nothing to wait with", prepare: compiled("sqlite.c", "-lsqlite3")},
	{name: "bbolt", note: "`NoSync`, Go; one process at a time may have it open, so each operation opens it", prepare: inProcess("bbolt", nil)},
	{name: "gofrs/flock", note: "a mapped file under a file lock, Go; attaching is opening and mapping", prepare: inProcess("flock", nil)},
	{name: "multiprocessing", note: "`Value`, `Array` and `Condition` of CPython, which processes inherit: there are no names", prepare: preparePython, together: true},
	{name: "Redis", note: "Unix socket, no persistence, go-redis; `INCR`, `GET`, `SET`, and a subscription to wake up", prepare: inProcess("redis", func(ctx context.Context, dir string) (*exec.Cmd, error) {
		return serving(ctx, dir, "redis-server", "--port", "0", "--unixsocket", socketIn(dir), "--save", "", "--dir", dir, "--loglevel", "warning", "--logfile", filepath.Join(dir, "log"))
	})},
	{name: "memcached", note: "Unix socket, gomemcache; it has nothing to wait with", prepare: inProcess("memcached", func(ctx context.Context, dir string) (*exec.Cmd, error) {
		return serving(ctx, dir, "memcached", "-s", socketIn(dir), "-u", "root", "-t", "2")
	})},
	{name: "NATS KV", note: "a program that embeds the server, memory storage, loopback, Go; an increment is compare-and-swap by revision", prepare: inProcess("nats", owner("nats owner"))},
	{name: "net/rpc", note: "a process that owns the values, Unix socket, Go; it has nothing to wait with", prepare: inProcess("rpc", owner("rpc owner"))},
	{name: "expvar", note: "variables that one process changes, and others read over HTTP, Unix socket, Go; a write reaches nobody until a reader asks", prepare: inProcess("expvar", nil)},
}

func preparePython(_ context.Context, dir string) (*ready, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, err
	}
	sources, err := sourcesIn(dir)
	if err != nil {
		return nil, err
	}
	return &ready{worker: func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, python, filepath.Join(sources, "rival.py"))
	}}, nil
}

// prepareIceoryx compiles the rival and starts iceoryx's daemon.
func prepareIceoryx(ctx context.Context, dir string) (*ready, error) {
	roudi, err := exec.LookPath("iox-roudi")
	if err != nil {
		return nil, err
	}
	headers, err := filepath.Glob("/usr/include/iceoryx/v*")
	if err != nil || len(headers) == 0 {
		return nil, errors.New("no headers of iceoryx are installed")
	}
	r, err := compiled("iceoryx.cc", "-I"+headers[len(headers)-1], "-liceoryx_posh", "-liceoryx_hoofs", "-liceoryx_platform", "-pthread")(ctx, dir)
	if err != nil {
		return nil, err
	}
	r.server = grouped(exec.CommandContext(ctx, roudi, "--monitoring-mode", "off", "--log-level", "error"))
	return r, r.server.Start()
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("league", flag.ContinueOnError)
	p := pace{patience: 3 * time.Second}
	rounds := flags.Int("rounds", 15, "measure all rivals `N` times, in turn")
	only := flags.String("only", "", "comma-separated `NAMES` of rivals, beside shm")
	write := flags.String("write", "", "write LEAGUE.md's generated parts, league.json and pictures/league*.svg in `DIR`")
	flags.DurationVar(&p.slice, "slice", 100*time.Millisecond, "what one measurement takes")
	flags.IntVar(&p.wakeUps, "wakeups", 5, "wake a process `N` times in one measurement")
	flags.IntVar(&p.kills, "kills", 9, "kill `N` processes that hold the lock")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || p.slice < time.Millisecond || p.wakeUps < 1 || p.kills < 1 || flags.NArg() > 0 {
		return fmt.Errorf("-rounds, -wakeups and -kills are at least 1, -slice is at least 1ms, and there are no arguments: %q", flags.Args())
	}
	if *write != "" && *only != "" {
		return errors.New("-write needs all rivals: leave out -only")
	}
	chosen, names := rivals, strings.Split(*only, ",")
	if *only != "" {
		chosen = slices.DeleteFunc(slices.Clone(rivals), func(r *rival) bool { return r != rivals[0] && !slices.Contains(names, r.name) })
		for _, name := range names {
			if !slices.ContainsFunc(chosen, func(r *rival) bool { return r.name == name }) {
				return fmt.Errorf("no rival is called %q", name)
			}
		}
	}
	l := &league{
		Command: strings.Join(append([]string{"go run ."}, args...), " "),
		Taken:   today(), Machine: machine(), Load: load(), Rounds: *rounds,
	}
	defer l.close()
	l.start(ctx, chosen, memoryDir(), p)
	if err := l.measure(ctx); err != nil {
		return err
	}
	l.print(os.Stdout)
	if *write != "" {
		if err := l.write(*write); err != nil {
			return err
		}
	}
	if wrong := append(l.wrong(), l.Failed...); len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// memoryDir is where the files of the rivals are: in memory, if the system has such a place.
func memoryDir() string {
	const base = "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		return os.TempDir()
	}
	return base
}
