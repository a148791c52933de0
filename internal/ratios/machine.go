//go:build linux

package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// machine is where a run took place.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"` // that this process may use
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	C      string `json:"c,omitempty"`
	Python string `json:"python,omitempty"`
	Date   string `json:"date"`
	Load   string `json:"load,omitempty"` // the load average before the run: what else runs there
}

func thisMachine() machine {
	m := machine{
		CPU:    "unknown",
		Cores:  runtime.NumCPU(),
		Kernel: "Linux " + contents("/proc/sys/kernel/osrelease"),
		Go:     runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		C:      firstLine("gcc", "--version"),
		Python: firstLine("python3", "--version"),
		Date:   time.Now().Format(time.DateOnly),
	}
	m.Load, _, _ = strings.Cut(contents("/proc/loadavg"), " ")
	if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindStringSubmatch(contents("/proc/cpuinfo")); found != nil {
		m.CPU = found[1]
	}
	return m
}

// contents returns a file's text, or nothing.
func contents(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// firstLine returns the first line that a program prints, or nothing.
func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
