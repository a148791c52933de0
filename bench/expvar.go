package main

import (
	"context"
	"encoding/json"
	"expvar"
	"fmt"
	"net"
	"net/http"
	"sync"
)

func init() { inGo["expvar"] = openExpvar }

// openExpvar is expvar: the first worker has the variables, which only it can change, and
// the others read all of them over HTTP.
func openExpvar(dir string) (verbs, error) {
	if l, err := net.Listen("unix", socketIn(dir)); err == nil {
		go func() { _ = http.Serve(l, expvar.Handler()) }()
		expvar.NewInt("count").Set(5)
		var mu sync.Mutex
		var now Record
		expvar.Publish("record", expvar.Func(func() any {
			mu.Lock()
			defer mu.Unlock()
			return now
		}))
		// Its own additions are no locked increment, and no other process can make one.
		return verbs{write: func(r *Record) error { mu.Lock(); now = *r; mu.Unlock(); return nil }}, nil
	}
	client := func() *http.Client {
		return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socketIn(dir))
		}}}
	}
	get := func(c *http.Client, to any) error {
		answer, err := c.Get("http://expvar/debug/vars")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		return json.NewDecoder(answer.Body).Decode(to)
	}
	kept := client()
	return verbs{
		read: func(r *Record) error {
			var all struct {
				Record Record `json:"record"`
			}
			err := get(kept, &all)
			*r = all.Record
			return err
		},
		attach: func() error {
			c := client()
			defer c.CloseIdleConnections()
			return get(c, new(struct {
				Count int64 `json:"count"`
			}))
		},
		mismatch: func() string {
			if err := get(client(), new(struct {
				Count string `json:"count"`
			})); err != nil {
				return fmt.Sprint("refused by the reader's decoder: ", err)
			}
			return "accepted"
		},
	}, nil
}
