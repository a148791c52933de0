package doctor

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestExamine checks that each finding that is not fine says what it means.
func TestExamine(t *testing.T) {
	t.Setenv("SHM_AVOID", "\x1b[2J")
	seen := map[string]bool{}
	for _, f := range Examine() {
		if seen[f.Check] {
			t.Errorf("%s is there twice", f.Check)
		}
		seen[f.Check] = true
		if f.Found == "" || f.Verdict != Fine && f.Means == "" {
			t.Errorf("%+v says not what it means", f)
		}
		if f.Check == "SHM_AVOID" && (f.Verdict != Note || f.Found != `"\x1b[2J"`) {
			t.Errorf("%+v", f)
		}
	}
	if !seen["SHM_AVOID"] {
		t.Error("SHM_AVOID is not examined")
	}
}

// TestSpace judges filesystems. One that has no size is not full.
func TestSpace(t *testing.T) {
	for _, c := range []struct {
		tmpfs        bool
		blocks, free uint64 // of 4 KiB
		want         Verdict
	}{
		{true, 1 << 20, 1 << 19, Fine}, {true, 1 << 20, 1 << 10, Bad}, {true, 1 << 20, 0, Bad},
		{true, 1 << 14, 1 << 13, Note}, {true, 0, 0, Fine}, {false, 1 << 20, 1 << 19, Note},
	} {
		st := unix.Statfs_t{Bsize: 4096, Blocks: c.blocks, Bavail: c.free}
		if st.Type = unix.EXT4_SUPER_MAGIC; c.tmpfs {
			st.Type = unix.TMPFS_MAGIC
		}
		if f := space("/dev/shm", &st); f.Verdict != c.want {
			t.Errorf("%+v: %+v", c, f)
		}
	}
}
