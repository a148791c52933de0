package serve

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.org/shm/cmd/shm/internal/form"
)

// schema is the version of the JSON of errors and of /healthz.
const schema = form.Schema

// policy lets the page load what this server has, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard checks who asks, and says what browsers may do with the answer.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A client that does not read must not keep a scrape for ever: few are answered at a
		// time. Streams set deadlines of their own.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.patience)) // a connection of HTTP has one
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if !s.known(r.Host) {
			s.fail(w, http.StatusForbidden, fmt.Errorf("this server does not serve the host %s: start it with -host %[1]s if that is its name", form.Name(r.Host)))
			return
		}
		// A page of another site must not make a browser ask here, even if it cannot read
		// the answer. A link to the page itself is fine.
		if site := r.Header.Get("Sec-Fetch-Site"); (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			s.fail(w, http.StatusForbidden, fmt.Errorf("a page of another site asked"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// known reports whether a Host header is an address, localhost, or one of the names that
// this server was started with. A page of somebody else whose name leads to this machine
// (DNS rebinding) sends its own name.
func (s *Server) known(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	return name != "" && slices.ContainsFunc(s.c.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// fail answers with an error, as the tool's commands do with -o json.
func (s *Server) fail(w http.ResponseWriter, status int, err error) {
	kind, exit := s.c.Failed(err)
	writeJSON(w, status, map[string]any{"schema": schema, "error": map[string]any{"message": strings.TrimPrefix(err.Error(), "shm: "), "kind": kind, "status": exit}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(form.Harmless(b), '\n')) // people look at it on a terminal
}
