package doctor

import "testing"

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
