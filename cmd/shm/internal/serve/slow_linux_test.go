//go:build linux

package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/shm"
)

// Clients that ask for metrics and do not read them do not keep others from them for ever.
func TestScrapesThatAreNotRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "many")
	seg, err := shm.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	for i := range 2000 {
		if _, err := shm.NewCounter[uint64](seg, fmt.Sprintf("%s%04d", strings.Repeat("x", 240), i)); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Config{Names: []string{name}, Failed: func(error) (string, int) { return "", 1 }})
	s.patience = 3 * time.Second // a slow machine answers whoever reads within that
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	defer func() { cancel(); <-ended }()
	for range 4 { // as many as are answered at a time
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		// Many scrapes, one behind the other, are more than the system keeps.
		if _, err := io.WriteString(c, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, 1)) // the first answer has begun, or the deadline has passed already
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a minute later, no scrape is answered")
		}
		r, err := http.Get("http://" + ln.Addr().String() + "/metrics")
		if err != nil {
			continue
		}
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err == nil && r.StatusCode == http.StatusOK {
			break
		}
	}
}
