package main

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"github.com/chromedp/chromedp"
)

var pictures = flag.String("pictures", "", "write the pictures of the page that docs/operating.md shows into this `directory`")

// showcase is the values that the pictures show.
type showcase struct {
	Requests    shm.Counter[uint64]      `shm:"requests,help=answered since the start"`
	Sent        shm.Counter[uint64]      `shm:"sent,unit=bytes,help=bodies of all answers"`
	Latency     shm.Histogram            `shm:"latency,bounds=0.5;1;2;5;10;20;50;100,unit=ms,help=from the request to the answer"`
	Queue       shm.Gauge[int64]         `shm:"queue,help=waiting in all workers"`
	Load        shm.Value[float64]       `shm:"load,help=of the last minute, 1 is a core"`
	Temperature shm.Value[float64]       `shm:"temperature,unit=°C,help=of the processor"`
	Cache       shm.Atomic[uint64]       `shm:"cache,unit=bytes,hint=gauge,help=in use"`
	Hits        shm.Atomic[uint64]       `shm:"cache_hits,hint=counter,help=answers from the cache"`
	Uptime      shm.Value[time.Duration] `shm:"uptime,help=of the oldest worker"`
	Version     shm.String               `shm:"version,len=32,help=of the program"`
	Config      shm.Struct[struct {
		Limit   int32
		Debug   bool
		Timeout float64
	}] `shm:"config,help=of all workers"`
	Samples shm.Array[int32] `shm:"samples,len=8,help=the newest of each sensor"`
}

// runShowcase changes values until it is killed. It holds the lock of config for ever if its
// program is named so.
func runShowcase(name string) error {
	seg, err := shm.Open(name, nil)
	if err != nil {
		return err
	}
	var b showcase
	if err := shm.Bind(seg, &b); err != nil {
		return err
	}
	if filepath.Base(os.Args[0]) == "deploy" {
		b.Config.Mutex().Lock()
		fmt.Println("ready")
		select {}
	}
	fmt.Println("ready")
	begin := time.Now()
	if err := b.Version.Store("2026.11.3+4f21c"); err != nil {
		return err
	}
	b.Cache.CompareAndSwap(0, 300<<20)
	c := b.Config.Load()
	c.Limit, c.Timeout = 400, 2.5
	b.Config.Store(c)
	for range time.Tick(50 * time.Millisecond) {
		x := float64(time.Now().UnixMilli()%1e6) / 1e3 // the same in all processes
		n := 14 + int(7*math.Sin(x/4)) + rand.IntN(4)
		b.Requests.Add(uint64(n))
		b.Sent.Add(uint64(n * (3000 + rand.IntN(900))))
		for range n {
			b.Latency.Observe(0.3 + rand.ExpFloat64()*3)
		}
		b.Queue.Set(int64(3 + 2.5*math.Sin(x/3) + rand.Float64()*2))
		b.Load.Store(math.Round((0.7+0.3*math.Sin(x/5)+rand.Float64()*0.05)*100) / 100)
		b.Temperature.Store(math.Round((52+4*math.Sin(x/7)+rand.Float64())*10) / 10)
		b.Cache.Add(uint64(rand.IntN(400000)) - 180000)
		b.Hits.Add(uint64(n / 3))
		b.Uptime.Update(func(d time.Duration) time.Duration { return max(d, time.Since(begin).Round(100*time.Millisecond)) })
		b.Samples.Store(n%8, int32(n))
	}
	return nil
}

// TestPictures takes the pictures of docs/operating.md.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("only with -pictures docs/pictures")
	}
	dir := t.TempDir()
	name := "board"
	if _, err := os.Lstat(shm.Path(name)); err == nil {
		t.Fatalf("there is a segment %s", name)
	}
	t.Cleanup(func() { _ = shm.Remove(name) })
	for i, program := range []string{"api", "api", "api", "deploy"} {
		path := filepath.Join(dir, fmt.Sprint(i), program)
		if err := os.Mkdir(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Link("/proc/self/exe", path); err != nil {
			b, err := os.ReadFile("/proc/self/exe")
			if err == nil {
				err = os.WriteFile(path, b, 0o777)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(path, "-test.run=^$")
		cmd.Env = append(os.Environ(), roleVariable+"=showcase "+name)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if program == "deploy" {
			_ = cmd.Process.Signal(syscall.SIGSTOP)
		}
	}
	b := openBrowser(t)
	url, _ := served(t, "-i", "250ms", name)
	b.run(chromedp.Navigate(url))
	b.until("all rows", func(p shownPage) bool { return len(p.Rows) >= 14 })
	time.Sleep(32 * time.Second) // until the charts are full
	take := func(file string) {
		t.Helper()
		time.Sleep(time.Second)
		png, err := chromedp.Run(b, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*pictures, file), png, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	b.scheme("light")
	b.size(1180, 860, false)
	take("page-light.png")
	b.scheme("dark")
	take("page-dark.png")
	b.scheme("light")
	b.size(390, 700, true)
	take("phone.png")
}
