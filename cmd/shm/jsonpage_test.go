package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/shm/cmd/shm/internal/doctor"
	"example.org/shm/cmd/shm/internal/segments"
)

// TestJSONPage compares docs/tool-json.md with the fields that the commands print.
func TestJSONPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/tool-json.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		sections[title] = text
	}
	for title, types := range map[string][]any{
		"segments": {segmentRow{}}, "values": {valueRow{}, maker{}, lockState{}}, "values of get": {partData{}}, "changes": {changeData{}},
		"locks": {lockData{}}, "processes": {processData{}}, "checks": {checkData{}}, "differences": {diffData{}}, "removed": {removalData{}},
		"findings": {doctor.Finding{}}, "lines of watch": {watchData{}}, "dump": {segments.Dump{}, segments.DumpValue{}}, "serve": {serveData{}}, "error": {errorOf{}},
	} {
		var want []string
		for _, x := range types {
			for f := range reflect.TypeOf(x).Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				want = append(want, name)
			}
		}
		compareFields(t, title, sections[title], want)
	}
	for status, kind := range kinds {
		if status != statusInterrupted && !strings.Contains(sections["error"], kind) {
			t.Errorf("the page does not have the kind %s", kind)
		}
	}
}

// compareFields compares the names in the table of a section with those of the code.
func compareFields(t *testing.T, title, section string, want []string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(line, -1) {
			got = append(got, m[1])
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s: the page does not have the field %s", title, name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) && !slices.Contains([]string{"ls", "locks", "load", "get"}, name) {
			t.Errorf("%s: there is no field %s", title, name)
		}
	}
}
