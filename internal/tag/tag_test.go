package tag

import (
	"errors"
	"io/fs"
	"reflect"
	"testing"

	"example.org/shm/internal/format"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Options{
		"":                         {Label: format.Label{Name: "Field"}},
		"hits":                     {Label: format.Label{Name: "hits"}},
		",len=4":                   {Label: format.Label{Name: "Field"}, Len: 4},
		"t,bounds=0.1;1;1e3":       {Label: format.Label{Name: "t"}, Bounds: []float64{0.1, 1, 1000}},
		"c,room=4096,hint=gauge":   {Label: format.Label{Name: "c", Reserve: 4096, Hint: format.HintGauge}},
		"n,unit=bytes,help=a, b=c": {Label: format.Label{Name: "n", Unit: "bytes", Help: "a, b=c"}},
	} {
		if got, err := Parse("Field", text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"-", "x,", "x,len", "x,len=0", "x,len=-1", "x,len=9999999999999999999", "x,room=0", "x,room=-1", "x,unit=", "x,hint=", "x,hint=none",
		"x,bounds=", "x,bounds=1;;2", "x,bounds=a", "x,len=1,len=2", "x,wrong=1",
	} {
		if got, err := Parse("Field", text); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
