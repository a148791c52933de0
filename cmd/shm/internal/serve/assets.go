package serve

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"time"
)

// The chart library is the file dist/uPlot.iife.min.js of the npm package uplot 1.6.32, and
// its licence is beside it.
//
//go:embed assets
var assets embed.FS

// assetNames returns the names of the files of the page.
func assetNames() (names []string) {
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // they are part of the program
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// asset answers with a file of the page. Browsers ask each time whether it has changed.
func asset(name string) http.HandlerFunc {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	file := name
	if file == "uplot.LICENSE" {
		file = "uplot.LICENSE.txt" // for the type
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, file, time.Time{}, bytes.NewReader(b))
	}
}
