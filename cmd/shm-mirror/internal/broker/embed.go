package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// ErrOpen says that an embedded server would let everybody in.
var ErrOpen = errors.New("an embedded server that others can reach needs credentials")

// Embedded is a NATS server within this process.
type Embedded struct {
	s                     *server.Server
	store                 *flock.Flock // has the lock of the directory
	user, password, token string       // of the configuration
}

// Embed starts a NATS server with JetStream that listens on addr and keeps its data below
// dir. config, which may be "", is a file in the format of the NATS server: credentials,
// TLS, a cluster. Without credentials in it the server refuses to listen on anything but
// loopback, for clients or others, and the error wraps ErrOpen. It always refuses to show
// its state elsewhere. The error wraps ErrStore if another embedded server has its data in
// dir.
func Embed(addr, dir, config string) (*Embedded, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w; write HOST:PORT, such as 127.0.0.1:4222", addr, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: the port is no number below 65536", addr)
	}
	o := &server.Options{}
	if config != "" {
		if o, err = server.ProcessConfigFile(config); err != nil {
			return nil, fmt.Errorf("server configuration: %w", err)
		}
	}
	o.Host, o.Port = host, int(n)
	if n == 0 {
		o.Port = server.RANDOM_PORT
	}
	o.NoSigs, o.NoLog = true, config == ""
	o.JetStream, o.StoreDir = true, dir
	if where := open(o); where != "" {
		return nil, fmt.Errorf("%w: %s; give a configuration with credentials and without no_auth_user, or listen on 127.0.0.1", ErrOpen, where)
	}
	if where := shown(o); where != "" {
		return nil, fmt.Errorf("%w: %s, which asks nobody for credentials; let it listen on 127.0.0.1", ErrOpen, where)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	// The server ends its process if it cannot listen or cannot use its directory, so
	// both are tried before.
	if err := possible(addr); err != nil {
		return nil, err
	}
	store, err := take(dir)
	if err != nil {
		return nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		s.WaitForShutdown()
		_ = store.Close()
		return nil, fmt.Errorf("embedded server: it does not listen on %s after 20 s", addr)
	}
	return &Embedded{s, store, o.Username, o.Password, o.Authorization}, nil
}

func possible(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("embedded server: %w", err)
	}
	return l.Close()
}

// Addr is where clients reach the server.
func (e *Embedded) Addr() string { return e.s.ClientURL() }

// URL is Addr with credentials for this process: those of the URL that the user gave, or
// of the configuration, if it has one user or token whose password is written plainly.
func (e *Embedded) URL(given string) (string, error) {
	u, err := url.Parse(e.s.ClientURL())
	if err != nil {
		return "", fmt.Errorf("embedded server: %w", err)
	}
	if g, err := url.Parse(given); err == nil && g.User != nil {
		u.User = g.User
	} else if e.token != "" {
		u.User = url.User(e.token)
	} else if e.user != "" {
		u.User = url.UserPassword(e.user, e.password)
	}
	return u.String(), nil
}

// Close ends the server. What it keeps on disk stays.
func (e *Embedded) Close() {
	e.s.Shutdown()
	e.s.WaitForShutdown()
	_ = e.store.Close() // gives the lock up
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// open returns an address on which a server with these options would let everybody in from
// elsewhere, or "".
func open(o *server.Options) string {
	for _, l := range []struct {
		what    string
		host    string
		port    int
		guarded bool
	}{
		{"clients", o.Host, o.Port, guarded(o) && o.NoAuthUser == ""},
		{"websocket", o.Websocket.Host, o.Websocket.Port, (guarded(o) || o.Websocket.Username != "" || o.Websocket.Token != "") && o.NoAuthUser == "" && o.Websocket.NoAuthUser == ""},
		{"mqtt", o.MQTT.Host, o.MQTT.Port, (guarded(o) || o.MQTT.Username != "" || o.MQTT.Token != "") && o.NoAuthUser == "" && o.MQTT.NoAuthUser == ""},
		{"leafnodes", o.LeafNode.Host, o.LeafNode.Port, guarded(o) && o.NoAuthUser == "" || o.LeafNode.Username != "" || o.LeafNode.Nkey != "" || len(o.LeafNode.Users) > 0},
		{"cluster", o.Cluster.Host, o.Cluster.Port, o.Cluster.Username != "" || verifies(o.Cluster.TLSConfig)},
		{"gateway", o.Gateway.Host, o.Gateway.Port, o.Gateway.Username != "" || verifies(o.Gateway.TLSConfig)},
	} {
		if l.port != 0 && !loopback(l.host) && !l.guarded {
			return fmt.Sprintf("%s on %s", l.what, net.JoinHostPort(l.host, strconv.Itoa(max(l.port, 0))))
		}
	}
	return ""
}

// shown returns an address on which a server with these options would show its state to
// everybody from elsewhere, or "". The pages for monitoring and for profiles never ask for
// credentials, also under TLS.
func shown(o *server.Options) string {
	monitor := o.HTTPHost
	if monitor == "" {
		monitor = o.Host // as the server has it
	}
	for _, l := range []struct {
		what string
		host string
		port int
	}{
		{"http", monitor, o.HTTPPort},
		{"https", monitor, o.HTTPSPort},
		{"prof_port", o.Host, o.ProfPort},
	} {
		if l.port != 0 && !loopback(l.host) {
			return fmt.Sprintf("%s on %s", l.what, net.JoinHostPort(l.host, strconv.Itoa(max(l.port, 0))))
		}
	}
	return ""
}

func verifies(c *tls.Config) bool { return c != nil && c.ClientAuth == tls.RequireAndVerifyClientCert }

// guarded reports whether a server with these options asks for credentials.
func guarded(o *server.Options) bool {
	return o.Username != "" || o.Authorization != "" || len(o.Users) > 0 || len(o.Nkeys) > 0 ||
		len(o.TrustedOperators) > 0 || len(o.TrustedKeys) > 0 || o.AuthCallout != nil || o.TLSVerify && o.TLSMap
}
