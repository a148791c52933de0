package broker

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An embedded server that can be reached from elsewhere needs credentials on each of its
// listeners. None of these starts one.
func TestEmbeddedServerIsClosed(t *testing.T) {
	const users = "authorization { user: u, password: p }\n"
	for _, c := range []struct{ addr, config, where string }{
		{"0.0.0.0:0", "", "clients"},
		{":0", "", "clients"},
		{"0.0.0.0:0", "accounts { A { users: [{user: u, password: p}] } }\nno_auth_user: u\n", "clients"},
		{"127.0.0.1:0", "websocket { listen: \"0.0.0.0:18080\", no_tls: true }\n", "websocket"},
		{"127.0.0.1:0", "server_name: s\nmqtt { listen: \"0.0.0.0:11883\" }\n", "mqtt"},
		{"127.0.0.1:0", "leafnodes { listen: \"0.0.0.0:17422\" }\n", "leafnodes"},
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
		{"authorization { token: secret }\n", ""},
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
