package history_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
	"github.com/anishathalye/porcupine"
)

// history reads a log.
func history(log []int64, client int) (all []porcupine.Operation) {
	for i := range operations {
		entry := log[i*fields : (i+1)*fields]
		if entry[kindField] == 0 {
			break
		}
		op := porcupine.Operation{
			ClientId: client, Input: input{client, entry[kindField], entry[argField], entry[returnField] == 0},
			Call: entry[callField], Output: entry[resultField], Return: entry[returnField],
		}
		if op.Return == 0 {
			op.Return = math.MaxInt64
		}
		all = append(all, op)
	}
	return all
}

// record runs one round, in which some clients are killed.
func record(t *testing.T, subject string, victims int) (all []porcupine.Operation) {
	t.Helper()
	s := shmtest.Opened(shm.Open(shmtest.Name(t), &shm.Options{Exclusive: true, MaxSize: agent.Modest.MaxSize}))(t)
	for i := range clients {
		shmtest.Must(shm.NewRawArray[int64](s, fmt.Sprint("Log", i), operations*fields))(t)
	}
	var b board
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	var running [clients]*shmtest.Process
	for i := range running {
		running[i] = shmtest.Start(t, client, s.Name(), subject, strconv.Itoa(i))
	}
	shmtest.Eventually(t, "the clients are ready", func() bool { return b.Ready.Load() == clients })
	b.Run.Store(1)
	for i, p := range running[:victims] {
		time.Sleep(rand.N(2 * time.Millisecond)) // until it is somewhere
		at := sys.Monotonic()
		p.Signal(syscall.SIGKILL)
		all = append(all, porcupine.Operation{ClientId: i, Input: input{client: i, kind: die}, Call: at, Output: int64(0), Return: math.MaxInt64})
	}
	for i, p := range running {
		if i < victims {
			p.Kill()
		} else {
			p.Wait()
		}
		all = append(all, history(b.log(i), i)...)
	}
	return all
}

func TestHistories(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for subject, model := range map[string]porcupine.Model{"value": numberModel, "struct": numberModel, "mutex": mutexModel} {
		t.Run(subject, func(t *testing.T) {
			total, cut, overlap := 0, 0, 0
			for round := range rounds {
				all := record(t, subject, round%clients)
				if subject != "mutex" {
					all = slices.DeleteFunc(all, func(op porcupine.Operation) bool { return op.Input.(input).kind == die })
				}
				if result := porcupine.CheckOperationsTimeout(model, all, time.Minute); result != porcupine.Ok {
					t.Fatalf("round %d: %v: no order explains %s", round, result, text(model, all))
				}
				total += len(all)
				slices.SortFunc(all, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
				latest := int64(0)
				for _, op := range all {
					if op.Call < latest {
						overlap++
					}
					if op.Input.(input).unknown {
						cut++
					} else if op.Return < math.MaxInt64 {
						latest = max(latest, op.Return)
					}
				}
			}
			t.Logf("%d operations, %d during others, %d cut off by a kill", total, overlap, cut)
			if overlap == 0 {
				t.Error("nothing happened at the same time")
			}
		})
	}
}

func text(model porcupine.Model, all []porcupine.Operation) (s string) {
	for _, op := range all {
		s += fmt.Sprintf("\n%d: %d to %d: %s", op.ClientId, op.Call, op.Return, model.DescribeOperation(op.Input, op.Output))
	}
	return s
}
