package serve

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What people see with curl has nothing that a terminal obeys.
func TestJSONIsHarmless(t *testing.T) {
	w := httptest.NewRecorder()
	writeJSON(w, http.StatusOK, map[string]string{"name": "a\u009b2J\u202e\x1b[2J\x7f<b>"})
	if got, want := w.Body.String(), `{"name":"a\u009b2J\u202e\u001b[2J\u007f\u003cb\u003e"}`+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
