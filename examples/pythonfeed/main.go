// Pythonfeed reads frames of samples that feed.py, a Python program, writes to an
// array. A header says which frames are there. Pythonfeed sleeps until there is
// another frame.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"syscall"

	"example.org/shm"
)

// The constants are the same as in feed.py.
const (
	size  = 800 // samples of a frame
	slots = 8   // frames that the array has; the feed overwrites the oldest one
)

// header has the fields of Header in feed.py.
type header struct {
	Frames int64   `shm:"frames"` // frames written so far
	Rate   float64 `shm:"rate"`   // samples a second
}

// feed has the values that the programs share. The feed changes Header while it
// holds the lock of Samples, so a holder of that lock sees the two agree.
type feed struct {
	Header  shm.Struct[header] `shm:"header"`
	Samples shm.Array[float64] `shm:"samples,len=6400"` // slots * size; frame n is in slot n modulo slots
}

func main() {
	log.SetFlags(0)
	name := flag.String("name", "feed", "name of the segment")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := read(ctx, *name); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func read(ctx context.Context, name string) error {
	seg, err := shm.Open(name, nil)
	if err != nil {
		return err
	}
	defer seg.Close()
	var f feed
	if err := shm.Bind(seg, &f); err != nil {
		return err
	}
	var frames [slots][size]float64
	for next := f.Header.Load().Frames; ; {
		if _, err := f.Header.Await(ctx, func(h header) bool { return h.Frames > next }); err != nil {
			return err
		}
		first, h := f.take(next, &frames)
		if first > next {
			fmt.Printf("frames %d to %d came too fast\n", next, first-1)
		}
		for next = first; next < h.Frames; next++ {
			show(next, frames[next%slots][:], h.Rate)
		}
	}
}

// take copies the frames from next on, as far as they are still there. It returns
// the number of the first frame that it copied, and the header. If a feed was
// killed while it wrote a frame, only that frame's slot is half written, and the
// header does not count the frame.
func (f *feed) take(next int64, frames *[slots][size]float64) (first int64, h header) {
	f.Samples.WithLock(func(samples []float64) {
		h = f.Header.Load()
		first = max(next, h.Frames-(slots-1))
		for n := first; n < h.Frames; n++ {
			copy(frames[n%slots][:], samples[n%slots*size:])
		}
	})
	return first, h
}

// show prints the loudness and the pitch of a frame. It computes the pitch from the
// number of zero crossings.
func show(n int64, samples []float64, rate float64) {
	var sum, peak, crossings float64
	for i, x := range samples {
		sum += x * x
		peak = max(peak, math.Abs(x))
		if i > 0 && (x < 0) != (samples[i-1] < 0) {
			crossings++
		}
	}
	rms := math.Sqrt(sum / float64(len(samples)))
	hertz := crossings / 2 * rate / float64(len(samples))
	fmt.Printf("frame %d: rms %.3f, peak %.3f, about %.0f Hz\n", n, rms, peak, hertz)
}
