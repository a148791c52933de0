package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// ctypesScript builds the types that it reads on standard input and answers with
// what ctypes says about them.
const ctypesScript = `
import ctypes, json, sys
def build(t):
    kind = t["Kind"]
    if kind == "chars":
        return ctypes.c_char * t["Len"]
    if kind == "array":
        return build(t["Elem"]) * t["Len"]
    if kind == "struct":
        fields = [(f["Name"], build(f["Type"])) for f in t["Fields"]]
        return type("S", (ctypes.Structure,), {"_fields_": fields})
    names = {"bool": "c_bool", "float32": "c_float", "float64": "c_double"}
    return getattr(ctypes, names.get(kind, "c_" + kind))
def answer(t):
    c = build(t)
    t = dict(t, Size=ctypes.sizeof(c), Align=ctypes.alignment(c))
    if t["Kind"] == "struct":
        t["Fields"] = [dict(f, Offset=getattr(c, f["Name"]).offset, Type=answer(f["Type"])[0]) for f in t["Fields"]]
    if t["Kind"] == "array":
        t["Elem"] = answer(t["Elem"])[0]
    return t, memoryview(c()).format
if ctypes.alignment(ctypes.c_int64) != int(sys.argv[1]) or sys.byteorder != sys.argv[2]:
    sys.exit("another machine")
json.dump([dict(zip(("Type", "Format"), answer(t))) for t in json.load(sys.stdin)], sys.stdout)
`

// TestCtypes makes random structs, has ctypes lay them out, and compares.
func TestCtypes(t *testing.T) {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: ", err)
	}
	rnd := rand.New(rand.NewPCG(3, 118))
	types := make([]ctype, 200)
	for i := range types {
		types[i] = randomStruct(rnd, 3)
	}
	input, err := json.Marshal(types)
	if err != nil {
		t.Fatal(err)
	}
	order := map[string]string{"<": "little", ">": "big"}[ByteOrder]
	cmd := exec.Command(path, "-c", ctypesScript, fmt.Sprint(reflect.TypeFor[int64]().Align()), order)
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if strings.Contains(string(exit.Stderr), "another machine") || strings.Contains(string(exit.Stderr), "ctypes") {
			t.Skipf("no comparable ctypes: %s", exit.Stderr)
		}
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var answers []struct {
		Type   ctype
		Format string
	}
	if err := json.Unmarshal(output, &answers); err != nil || len(answers) != len(types) {
		t.Fatalf("%d answers: %v", len(answers), err)
	}
	padding := regexp.MustCompile(`\d*x`) // no field's name has an x
	pads := false
	for _, a := range answers {
		pads = pads || padding.MatchString(a.Format)
	}
	for _, a := range answers {
		typ, _ := a.Type.goType()
		l, err := OfType(typ)
		if err != nil {
			t.Errorf("%s: %v", a.Format, err)
			continue
		}
		got := l.Format
		if !pads { // before CPython 3.12
			got = padding.ReplaceAllString(got, "")
		}
		if got != a.Format {
			t.Errorf("format %s, ctypes has %s", got, a.Format)
		}
		a.Type.compare(t, a.Format, *l)
		checkSound(t, *l)
	}
	t.Logf("ctypes writes padding: %v", pads)
}

func randomStruct(rnd *rand.Rand, depth int) ctype {
	s := ctype{Kind: "struct"}
	for i := range 1 + rnd.IntN(6) {
		s.Fields = append(s.Fields, cfield{Name: fmt.Sprintf("f%d", i), Type: randomType(rnd, depth-1)})
	}
	return s
}

func randomType(rnd *rand.Rand, depth int) ctype {
	kinds := []string{"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"}
	switch n := rnd.IntN(10); {
	case n == 0:
		return ctype{Kind: "chars", Len: 1 + rnd.IntN(9)}
	case n < 3:
		elem := randomType(rnd, depth)
		return ctype{Kind: "array", Len: 1 + rnd.IntN(4), Elem: &elem}
	case n < 6 && depth > 0:
		return randomStruct(rnd, depth)
	}
	return ctype{Kind: kinds[rnd.IntN(len(kinds))]}
}
