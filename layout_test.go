package shm_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// reading is a struct with a field of each kind that a layout tells apart.
type reading struct {
	OK     bool
	Value  float32                 `shm:"value"`
	Unit   [4]byte                 `shm:"unit,char"`
	Points [2]struct{ X, Y int16 } `shm:"points"`
	_      [4]byte
}

// The layout of a Go type comes back from its format.
func TestLayoutOfRoundTrip(t *testing.T) {
	for _, l := range []shm.Layout{
		shmtest.Must(shm.LayoutOf[int8]())(t),
		shmtest.Must(shm.LayoutOf[bool]())(t),
		shmtest.Must(shm.LayoutOf[complex128]())(t),
		shmtest.Must(shm.LayoutOf[time.Duration]())(t),
		shmtest.Must(shm.LayoutOf[[2][3]uint16]())(t),
		shmtest.Must(shm.LayoutOf[reading]())(t),
		shmtest.Must(shm.LayoutOf[[3]reading]())(t),
	} {
		if back, err := shm.ParseLayout(l.Format); err != nil || !reflect.DeepEqual(back, l) || !l.Equal(back) {
			t.Errorf("%+v comes back as %+v, %v", l, back, err)
		}
	}
	l := shmtest.Must(shm.LayoutOf[reading]())(t)
	want := []shm.Field{
		{Name: "OK", Offset: 0, Layout: shmtest.Must(shm.LayoutOf[bool]())(t)},
		{Name: "value", Offset: 4, Layout: shmtest.Must(shm.LayoutOf[float32]())(t)},
		{Name: "unit", Offset: 8, Layout: l.Fields[2].Layout}, // no Go type by itself is a C string
		{Name: "points", Offset: 12, Layout: shmtest.Must(shm.LayoutOf[[2]struct{ X, Y int16 }]())(t)},
	}
	if !reflect.DeepEqual(l.Fields, want) || l.Size != 24 || l.Align != 4 || l.Fields[2].Layout.Size != 4 {
		t.Errorf("%+v, want the fields %+v", l, want)
	}
	if inner := l.Fields[3].Layout.Fields; len(inner) != 2 || inner[1].Name != "Y" || inner[1].Offset != 2 {
		t.Errorf("the fields of an array's struct are %+v", inner)
	}
}

func TestLayoutOfIsACopy(t *testing.T) {
	l := shmtest.Must(shm.LayoutOf[reading]())(t)
	l.Fields[3].Layout.Fields[1].Name = "changed"
	l.Fields[3].Name = "changed"
	again := shmtest.Must(shm.LayoutOf[reading]())(t)
	if f := again.Fields[3]; f.Name != "points" || f.Layout.Fields[1].Name != "Y" {
		t.Errorf("after a caller changed its copy the cache holds %+v", again)
	}
	// So is the layout of an Entry.
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	shmtest.Must(shm.NewStruct(s, "r", reading{}))(t)
	for range 2 {
		e, _ := s.Lookup("r")
		if e.Layout.Fields[0].Name != "OK" {
			t.Errorf("after a caller changed its Entry the directory holds %+v", e.Layout)
		}
		e.Layout.Fields[0].Name = "changed"
	}
}

func TestLayoutEqual(t *testing.T) {
	different := []shm.Layout{
		{},
		shmtest.Must(shm.LayoutOf[int32]())(t),
		shmtest.Must(shm.LayoutOf[uint32]())(t),
		shmtest.Must(shm.LayoutOf[[1]int32]())(t),
		shmtest.Must(shm.LayoutOf[struct{ V int32 }]())(t),
		shmtest.Must(shm.LayoutOf[struct{ W int32 }]())(t),
		shmtest.Must(shm.LayoutOf[struct {
			V [4]byte `shm:",char"`
		}]())(t),
	}
	for i, a := range different {
		for j, b := range different {
			if a.Equal(b) != (i == j) {
				t.Errorf("%q.Equal(%q) is %v", a.Format, b.Format, a.Equal(b))
			}
		}
	}
	type renamed struct {
		Abscissa float64 `shm:"X"`
		Y        float64
	}
	if !shmtest.Must(shm.LayoutOf[struct{ X, Y float64 }]())(t).Equal(shmtest.Must(shm.LayoutOf[renamed]())(t)) {
		t.Error("Go's names of types and fields make a difference")
	}
}

func TestLayoutOfUnfit(t *testing.T) {
	type inner struct{ Next *int32 }
	type outer struct {
		ID    int64
		Items [4]inner
	}
	_, err := shm.LayoutOf[outer]()
	if e, ok := errors.AsType[*shm.TypeError](err); !ok || e.Type != reflect.TypeFor[outer]() || e.Field != "Items[].Next" || !strings.Contains(e.Reason, "*int32") {
		t.Errorf("%+v", err)
	}
}

func TestParseLayoutRefuses(t *testing.T) {
	for _, format := range []string{"", "nonsense", "T{<i:a:", "<i:a:", "(0)<i", "P"} {
		l, err := shm.ParseLayout(format)
		if !errors.Is(err, shm.ErrFormat) || !reflect.DeepEqual(l, shm.Layout{}) || !strings.Contains(err.Error(), "at byte") {
			t.Errorf("%q: %+v, %v", format, l, err)
		}
	}
}
