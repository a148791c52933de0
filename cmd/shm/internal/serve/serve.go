// Package serve answers by HTTP what segments have: a page that shows their values live,
// metrics for Prometheus, and whether all is well. It only reads.
package serve

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/proc"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/shmprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says what a Server serves.
type Config struct {
	Names []string      // of segments; none: all in segments.Dir, as they come and go
	Every time.Duration // between two frames of a page
	Hosts []string      // names by which clients may ask for this server, beside localhost and addresses

	// Locks yields the locks of a value with their names, and Seen which of the processes
	// that have a segment mapped has which id in it.
	Locks func(shm.Entry) iter.Seq2[string, shm.LockInfo]
	Seen  func(iter.Seq[shm.Process], []proc.Process) map[uint32]proc.Process

	// Failed describes an error as the tool does: in JSON.
	Failed func(error) (kind string, status int)
}

// Server serves. Its methods are safe for concurrent use.
type Server struct {
	c    Config
	live *live
	http *http.Server

	pages    atomic.Int32  // that are open
	patience time.Duration // with a client that does not read an answer
}

// New returns a Server.
func New(c Config) *Server {
	s := &Server{c: c, live: newLive(c), patience: 3 * patience}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics())
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /{$}", asset("index.html"))
	for _, name := range assetNames() {
		mux.HandleFunc("GET /"+name, asset(name))
	}
	mux.HandleFunc("/", s.unknown)
	s.http = &http.Server{
		Handler:           s.guard(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s
}

// Serve answers what comes in through ln until ctx is done, and then ends all streams.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// A scrape may need a moment more. Streams end with ctx.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.http.Shutdown(last); err != nil {
		_ = s.http.Close()
	}
	return ctx.Err()
}

// names returns the segments that are served at the moment.
func (s *Server) names() ([]string, error) { return namesOf(s.c) }

func namesOf(c Config) ([]string, error) {
	if len(c.Names) > 0 {
		return c.Names, nil
	}
	names, _, err := segments.Names()
	return names, err
}

// metrics answers scrapes.
func (s *Server) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(shmprom.NewMany(s.names, &shmprom.Options{Open: segments.Look}))
	h := promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: 4})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h.ServeHTTP(w, req)
		// What is mapped counts as in use, for shm rm and for people.
		go runtime.GC()
	})
}

// segmentHealth is what /healthz says of a segment.
type segmentHealth struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"`
}

// health says whether the segments can be read. Those that nobody has named may be damaged:
// that is none of this server's faults.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	names, err := s.names()
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, err)
		return
	}
	status, all := http.StatusOK, make([]segmentHealth, 0, len(names))
	for _, name := range names {
		h := segmentHealth{Name: name}
		if err := sound(name); err != nil {
			h.Error = err.Error()
			h.Kind, _ = s.c.Failed(err)
			if len(s.c.Names) > 0 {
				status = http.StatusServiceUnavailable
			}
		}
		all = append(all, h)
	}
	says := map[int]string{http.StatusOK: "ok", http.StatusServiceUnavailable: "failed"}
	writeJSON(w, status, map[string]any{"schema": schema, "status": says[status], "segments": all})
}

// sound attaches to a segment, reads the descriptions of all values, and detaches.
func sound(name string) error {
	s, err := segments.Look(name)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Check()
}

// attachable attaches to a segment and detaches.
func attachable(name string) error {
	s, err := segments.Look(name)
	if err != nil {
		return err
	}
	return s.Close()
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.fail(w, http.StatusMethodNotAllowed, errors.New("this server only reads: use GET"))
		return
	}
	s.fail(w, http.StatusNotFound, errors.New("there is /, /metrics, /healthz and /events here"))
}

// Ready looks at the segments that were named, and returns the first error. One of which a
// part is damaged can be served: the page shows what precedes the damage.
func (s *Server) Ready() error {
	for _, name := range s.c.Names {
		if err := attachable(name); err != nil {
			return err
		}
	}
	return nil
}

// interval returns the time between two frames.
func (c Config) interval() time.Duration { return cmp.Or(c.Every, time.Second) }
