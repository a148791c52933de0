package main

import (
	"strings"
	"testing"
)

// Root is not told to ask root: what it lacks is a capability.
func TestWhoSees(t *testing.T) {
	for uid, want := range map[int]string{0: "CAP_SYS_PTRACE", 1000: "ask root", -1: "ask root"} {
		if got := whoSees(uid); !strings.Contains(got, want) {
			t.Errorf("user %d is told: %s", uid, got)
		}
	}
}
