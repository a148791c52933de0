package recipes

import (
	"context"
	"fmt"
	"log"
	"time"

	"example.org/shm"
)

// metrics is what the processes of a server count together.
type metrics struct {
	Requests shm.Counter[int64] `shm:"requests,unit=requests,help=answered"`
	InFlight shm.Gauge[int64]   `shm:"in_flight,unit=requests,help=being answered now"`
	Latency  shm.Histogram      `shm:"latency,bounds=0.001;0.01;0.1;1,unit=seconds"`
}

func (m *metrics) serve(handle func()) {
	m.InFlight.Add(1)
	defer m.InFlight.Add(-1)
	start := time.Now()
	handle()
	m.Latency.Observe(time.Since(start).Seconds())
	m.Requests.Add(1)
}

func Example_metrics() {
	seg, err := shm.Anonymous(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer seg.Close()
	var m metrics
	if err := shm.Bind(seg, &m); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		m.serve(func() {})
	}
	observed := uint64(0)
	for _, n := range m.Latency.Load().Counts {
		observed += n
	}
	fmt.Println(m.Requests.Load(), m.InFlight.Load(), observed)
	// Output: 3 0 3
}

// settings change as a whole.
type settings struct {
	Limit   int32
	Debug   bool
	Version uint32
}

// follow calls apply with the settings that hold, and with each newer ones. It may skip
// settings that were replaced before apply returned.
func follow(ctx context.Context, all shm.Struct[settings], apply func(settings)) {
	for _, now := range all.Changes(ctx) {
		apply(now)
	}
}

// setLimit changes one field, and refuses what is not valid.
func setLimit(ctx context.Context, all shm.Struct[settings], limit int32) error {
	return all.UpdateContext(ctx, func(s *settings) error {
		if limit < 1 {
			return fmt.Errorf("limit %d: must be at least 1", limit)
		}
		s.Limit = limit
		s.Version++
		return nil
	})
}

func Example_settings() {
	seg, err := shm.Anonymous(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer seg.Close()
	all, err := shm.NewStruct(seg, "settings", settings{Limit: 10})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	follow(ctx, all, func(s settings) {
		fmt.Println(s.Limit, s.Version)
		if s.Version == 1 {
			stop()
		} else if err := setLimit(ctx, all, 20); err != nil {
			log.Fatal(err)
		}
	})
	fmt.Println(setLimit(context.Background(), all, 0))
	// Output:
	// 10 0
	// 20 1
	// limit 0: must be at least 1
}

// claim returns the number of a job that nobody else does, and a function that gives it
// back. Jobs of processes that have died are free again.
func claim(ctx context.Context, claims shm.Mutexes) (job int, giveBack func(), err error) {
	job, err = claims.LockAny(ctx)
	if err != nil {
		return 0, nil, err
	}
	mu := claims.At(job)
	if mu.Abandoned() {
		log.Printf("a process died with job %d", job)
	}
	return job, mu.Unlock, nil
}

func Example_claims() {
	seg, err := shm.Anonymous(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer seg.Close()
	claims, err := shm.NewMutexes(seg, "claims", 8)
	if err != nil {
		log.Fatal(err)
	}
	first, giveBack, err := claim(context.Background(), claims)
	if err != nil {
		log.Fatal(err)
	}
	second, _, err := claim(context.Background(), claims)
	if err != nil {
		log.Fatal(err)
	}
	giveBack()
	third, _, err := claim(context.Background(), claims)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first, second, third)
	// Output: 0 1 0
}

// sample is one reading of a sensor.
type sample struct {
	At    int64 // nanoseconds since 1970
	Value [3]float32
}

// read calls use with each sample from now on, and reports how many it could not get,
// because it was slower than the sensor for too long.
func read(ctx context.Context, samples shm.Ring[sample], use func(sample)) (missed uint64) {
	r := samples.Reader()
	for {
		s, _, err := r.Next(ctx)
		if err != nil {
			return r.Missed()
		}
		use(s)
	}
}

func Example_stream() {
	seg, err := shm.Anonymous(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer seg.Close()
	samples, err := shm.NewRing[sample](seg, "samples", 100)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { // the sensor, which never waits for a reader
		for i := int64(1); ctx.Err() == nil; i++ {
			samples.Append(sample{At: i, Value: [3]float32{0, 0, 9.81}})
			time.Sleep(time.Millisecond)
		}
	}()
	n := 0
	missed := read(ctx, samples, func(s sample) {
		if n++; n == 10 {
			stop()
		}
	})
	fmt.Println(n, missed)
	// Output: 10 0
}

// bucket is a token bucket: what a number of processes may do together.
type bucket struct {
	Tokens float64
	Filled int64 // when, in nanoseconds since 1970
}

// allow takes a token, if there is one. The bucket gets rate tokens a second, and holds
// at most burst.
func allow(b shm.Struct[bucket], rate, burst float64, now time.Time) (ok bool) {
	b.Update(func(b *bucket) {
		if passed := now.UnixNano() - b.Filled; passed > 0 {
			b.Tokens = min(burst, b.Tokens+rate*time.Duration(passed).Seconds())
			b.Filled = now.UnixNano()
		}
		if ok = b.Tokens >= 1; ok {
			b.Tokens--
		}
	})
	return ok
}

func Example_rateLimiter() {
	seg, err := shm.Anonymous(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer seg.Close()
	b, err := shm.NewStruct(seg, "bucket", bucket{})
	if err != nil {
		log.Fatal(err)
	}
	now, allowed := time.Now(), 0
	for range 10 {
		if allow(b, 100, 5, now) {
			allowed++
		}
	}
	fmt.Println(allowed, allow(b, 100, 5, now.Add(10*time.Millisecond)), allow(b, 100, 5, now.Add(10*time.Millisecond)))
	// Output: 5 true false
}
