package agent_test

import (
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// Cell finds the lock of every kind of value that has one.
func TestCell(t *testing.T) {
	s := shmtest.Opened(shm.Anonymous(agent.Modest))(t)
	for name, mu := range map[string]*shm.Mutex{
		"value":  shmtest.Must(shm.NewValue[int8](s, "value", 0))(t).Mutex(),
		"array":  shmtest.Must(shm.NewArray[int8](s, "array", 100))(t).Mutex(),
		"mutex":  shmtest.Must(shm.NewMutex(s, "mutex"))(t),
		"struct": shmtest.Must(shm.NewStruct(s, "struct", [3]int64{}))(t).Mutex(),
		"string": shmtest.Must(shm.NewString(s, "string", 100))(t).Mutex(),
	} {
		c := agent.Cell(t, s, name)
		if w := c.Word.Load(); w != 0 {
			t.Errorf("%s: the word is %#x before it is locked", name, w)
		}
		mu.Lock()
		e, _ := s.Lookup(name)
		lock, ok := e.Lock()
		if w := c.Word.Load(); !ok || w != lock.ID || w == 0 {
			t.Errorf("%s: the word is %#x, and the lock %+v", name, w, lock)
		}
		mu.Unlock()
	}
}

func TestObey(t *testing.T) {
	s, v := agent.Locked(t)
	p := agent.Start(t, s.Name())
	for _, line := range [][2]string{
		{"unlock", `panic: shm: unlock of "n", which is not locked (word 0x0)`},
		{"lock", "locked"}, {"abandoned", "false"}, {"set 5", "set"}, {"trylock", "false"}, {"unlock", "unlocked"}, {"add 2", "added"},
		{"crowd 3", "through"}, {"await 10", "saw 10 <nil>"}, {"dance", "what is dance"},
	} {
		p.Do(line[0], line[1])
	}
	if got := v.Load(); got != 10 {
		t.Errorf("the number is %d", got)
	}
	if agent.Header(t, s).Used.Word.Load() == 0 {
		t.Error("the header has no size")
	}
}
