//go:build linux

package shmprom_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"example.org/shm"
	"example.org/shm/shmprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// The values of a segment as Prometheus gets them. A server answers with
// promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).
func ExampleNew() {
	dir, err := os.MkdirTemp("", "shmprom-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "board")
	seg, err := shm.Open(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	var board struct {
		Requests shm.Counter[int64] `shm:"requests,help=answered since the start"`
		Latency  shm.Value[float64] `shm:"latency,unit=ms,hint=gauge,help=of the last request"`
		Queue    shm.Gauge[int64]   `shm:"queue,help=waiting in all processes"`
	}
	if err := shm.Bind(seg, &board); err != nil {
		log.Fatal(err)
	}
	board.Requests.Add(3)
	board.Latency.Store(20)
	board.Queue.Set(7)

	registry := prometheus.NewRegistry()
	registry.MustRegister(shmprom.New(name, &shmprom.Options{Namespace: "web"}))
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName()[:4] == "web_" {
			if _, err := expfmt.MetricFamilyToText(os.Stdout, f); err != nil {
				log.Fatal(err)
			}
		}
	}
	fmt.Println(shm.Remove(name))
	// Output:
	// # HELP web_latency_seconds of the last request
	// # TYPE web_latency_seconds gauge
	// web_latency_seconds 0.02
	// # HELP web_queue waiting in all processes
	// # TYPE web_queue gauge
	// web_queue 7
	// # HELP web_requests_total answered since the start
	// # TYPE web_requests_total counter
	// web_requests_total 3
	// <nil>
}
