//go:build unix

// Release1 is a server that counts uploads and their bytes.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"example.org/shm"
	"example.org/shm/examples/hotrestart/server"
)

// uploads has the counters of this version. It changes as a whole.
type uploads struct {
	Count int64
	Bytes int64
}

var board struct {
	Uploads shm.Struct[uploads] `shm:"uploads"`
}

func main() {
	log.SetFlags(0)
	if err := server.Run(pages); err != nil {
		log.Fatal(err)
	}
}

func pages(seg *shm.Segment) (http.Handler, error) {
	if err := shm.Bind(seg, &board); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", upload)
	mux.HandleFunc("GET /stats", stats)
	return mux, nil
}

func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	board.Uploads.Update(func(u *uploads) {
		u.Count++
		u.Bytes += n
	})
	fmt.Fprintf(w, "release 1, process %d: %d bytes\n", os.Getpid(), n)
}

func stats(w http.ResponseWriter, r *http.Request) {
	u := board.Uploads.Load()
	fmt.Fprintf(w, "release 1, process %d: %d uploads, %d bytes\n", os.Getpid(), u.Count, u.Bytes)
}
