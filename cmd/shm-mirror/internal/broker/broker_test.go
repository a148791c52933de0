package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An embedded server that can be reached from elsewhere needs credentials on each of its
// listeners. None of these starts one.
func TestEmbeddedServerIsClosed(t *testing.T) {
	const users = "authorization { user: u, password: p }\n"
	const anybody = "accounts { A { users: [{user: u, password: p}] } }\nno_auth_user: u\n"
	for _, c := range []struct{ addr, config, where string }{
		{"0.0.0.0:0", "", "clients"},
		{":0", "", "clients"},
		{"0.0.0.0:0", anybody, "clients"},
		{"127.0.0.1:0", "websocket { listen: \"0.0.0.0:18080\", no_tls: true }\n", "websocket"},
		{"127.0.0.1:0", "server_name: s\nmqtt { listen: \"0.0.0.0:11883\" }\n", "mqtt"},
		{"127.0.0.1:0", "leafnodes { listen: \"0.0.0.0:17422\" }\n", "leafnodes"},
		{"127.0.0.1:0", "leafnodes { listen: \"0.0.0.0:17422\" }\n" + anybody, "leafnodes"},
		{"127.0.0.1:0", users + "http: \"0.0.0.0:18222\"\n", "http on"},
		{"127.0.0.1:0", users + "https: \"0.0.0.0:18222\"\n", "https on"},
		{"0.0.0.0:0", users + "http: 18222\n", "http on"},
		{"0.0.0.0:0", users + "prof_port: 18223\n", "prof_port on"},
		{"127.0.0.1:0", users + "cluster { name: c, listen: \"0.0.0.0:16222\" }\n", "cluster"},
		{"127.0.0.1:0", users + "gateway { name: c, listen: \"0.0.0.0:17222\" }\n", "gateway"},
	} {
		dir := t.TempDir()
		config := ""
		if c.config != "" {
			config = filepath.Join(dir, "nats.conf")
			if err := os.WriteFile(config, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Embed(c.addr, filepath.Join(dir, "data"), config)
		if s != nil {
			s.Close()
		}
		if !errors.Is(err, ErrOpen) || !strings.Contains(err.Error(), c.where) {
			t.Errorf("%s with %q: %v", c.addr, c.config, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
			t.Errorf("%s with %q left a directory", c.addr, c.config)
		}
	}
}

// The process that has an embedded server can use it, also if it asks for credentials.
func TestEmbeddedServerWithCredentials(t *testing.T) {
	for _, c := range []struct{ config, given string }{
		{"authorization { user: u, password: \"p @/\" }\n", "nats://127.0.0.1:4222"},
		{"authorization { token: secret }\nhttp: \"127.0.0.1:-1\"\n", ""},
		{"authorization { users: [{user: a, password: b}, {user: c, password: d}] }\n", "nats://c:d@elsewhere"},
	} {
		dir := t.TempDir()
		config := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(config, []byte(c.config), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Embed("127.0.0.1:0", dir, config)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		url, err := s.URL(c.given)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := Connect(Options{URL: url, Bucket: "shm"})
		if err != nil {
			t.Errorf("%s: %v", c.config, err)
			continue
		}
		if _, err := conn.Make(t.Context()); err != nil {
			t.Error(err)
		}
		conn.Close()
		if _, err := Connect(Options{URL: s.Addr(), Bucket: "shm"}); err == nil {
			t.Error("the server lets in whoever has no credentials")
		}
	}
}

// An error does not show a password or a token.
func TestPasswordsAreNotShown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // nobody listens there
	for given, want := range map[string]string{
		"nats://u:secret@" + addr:                             "nats://u:xxxxx@" + addr,
		"nats://secret@" + addr:                               "nats://xxxxx@" + addr,
		"u:secret@" + addr + ", tls://u:secret@" + addr + "/": "u:xxxxx@" + addr + ",tls://u:xxxxx@" + addr + "/",
		"nats://u:se@cret@" + addr:                            "nats://u:xxxxx@" + addr,
		"nats://u:sec\x7fret@" + addr:                         "nats://u:xxxxx@" + addr,
		"nats://" + addr:                                      "nats://" + addr,
	} {
		_, err := Connect(Options{URL: given})
		if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret") || !strings.Contains(err.Error(), want+":") {
			t.Errorf("%q: %v", given, err)
		}
	}
}

// A server that refuses the credentials for a while does not end a connection, and is told
// once.
func TestCredentialsAreRefusedForAWhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	embed := func(addr, password string) *Embedded {
		t.Helper()
		config := filepath.Join(dir, password+".conf")
		if err := os.WriteFile(config, []byte("authorization { user: u, password: "+password+" }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Embed(addr, filepath.Join(dir, "data"), config)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	right := embed("127.0.0.1:0", "right")
	given, err := url.Parse(right.Addr())
	if err != nil {
		t.Fatal(err)
	}
	given.User = url.UserPassword("u", "right")
	var told atomic.Int32
	there := make(chan struct{}, 1)
	conn, err := Connect(Options{
		URL: given.String(), Bucket: "shm", Trouble: func(error) { told.Add(1) },
		Changed: func(now bool, _ error) {
			if now {
				there <- struct{}{}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Use(t.Context(), func(ctx context.Context) error {
		right.Close()
		wrong := embed(given.Host, "wrong")
		time.Sleep(2 * time.Second) // about ten attempts
		wrong.Close()
		right = embed(given.Host, "right")
		select {
		case <-there:
		case <-ctx.Done():
			t.Error("the connection has ended")
		case <-time.After(20 * time.Second):
			t.Error("there is no connection 20 s later")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	right.Close()
	if n := told.Load(); n != 1 {
		t.Errorf("the same error was told %d times", n)
	}
}

// A connection that the client of NATS gives up ends what uses it, with the reason.
func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	end := make(chan struct{})
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "INFO {\"max_payload\":1048576}\r\n")
		in := bufio.NewScanner(c)
		for in.Scan() && in.Text() != "PING" {
		}
		fmt.Fprint(c, "PONG\r\n")
		<-end
		fmt.Fprint(c, "-ERR 'Enough Of You'\r\n")
		for in.Scan() {
		}
	}()
	conn, err := Connect(Options{URL: "nats://" + l.Addr().String(), Bucket: "shm"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	own := errors.New("of the function")
	if err := conn.Use(t.Context(), func(context.Context) error { return own }); err != own {
		t.Error(err)
	}
	err = conn.Use(t.Context(), func(ctx context.Context) error {
		close(end)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Second):
			t.Error("the context goes on")
		}
		return ctx.Err()
	})
	if !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "Enough Of You") {
		t.Error(err)
	}
}

// Two servers do not use one directory, also if they are of two processes; the second
// changes nothing there. Once the first has ended, another one can.
func TestOneServerInADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := Embed("127.0.0.1:0", dir, "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Embed("127.0.0.1:0", dir, "")
	if second != nil {
		second.Close()
	}
	if !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "-store") {
		t.Errorf("a second server: %v", err)
	}
	conn, err := Connect(Options{URL: first.Addr(), Bucket: "shm"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Make(t.Context()); err != nil {
		t.Error(err)
	}
	conn.Close()
	first.Close()
	if second, err = Embed("127.0.0.1:0", dir, ""); err != nil {
		t.Fatal("after the first has ended: ", err)
	}
	second.Close()
}
