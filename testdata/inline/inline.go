// Package inline calls the fast paths of shm from outside, one method a
// function. TestFastPathsInline reads the machine code that the compiler makes
// of it.
package inline

import "example.org/shm"

// Line is a struct of one cache line without bools.
type Line struct {
	A, B, C, D, E, F, G int64
	H                   float64
}

func RawGetInt64(v shm.RawValue[int64]) int64          { return v.Get() }
func RawGetFloat64(v shm.RawValue[float64]) float64    { return v.Get() }
func RawSetInt64(v shm.RawValue[int64], x int64)       { v.Set(x) }
func RawSetFloat64(v shm.RawValue[float64], x float64) { v.Set(x) }

func RawArrayGetInt64(a shm.RawArray[int64], i int) int64       { return a.Get(i) }
func RawArrayGetFloat64(a shm.RawArray[float64], i int) float64 { return a.Get(i) }
func RawArraySetInt64(a shm.RawArray[int64], i int, x int64)    { a.Set(i, x) }

func AtomicLoadInt64(a shm.Atomic[int64]) int64          { return a.Load() }
func AtomicLoadInt32(a shm.Atomic[int32]) int32          { return a.Load() }
func AtomicStoreInt64(a shm.Atomic[int64], x int64)      { a.Store(x) }
func AtomicSwapInt64(a shm.Atomic[int64], x int64) int64 { return a.Swap(x) }
func AtomicCompareAndSwapInt64(a shm.Atomic[int64], old, x int64) bool {
	return a.CompareAndSwap(old, x)
}
func AtomicAddInt64(a shm.Atomic[int64], x int64) int64 { return a.Add(x) }
func AtomicAddInt32(a shm.Atomic[int32], x int32) int32 { return a.Add(x) }

func ValueLoadInt64(v shm.Value[int64]) int64                 { return v.Load() }
func ValueLoadFloat64(v shm.Value[float64]) float64           { return v.Load() }
func ValueStoreInt64(v shm.Value[int64], x int64)             { v.Store(x) }
func ValueAddInt64(v shm.Value[int64], x int64) int64         { return v.Add(x) }
func ValueAddFloat64(v shm.Value[float64], x float64) float64 { return v.Add(x) }

func ArrayLoadInt64(a shm.Array[int64], i int) int64         { return a.Load(i) }
func ArrayAddInt64(a shm.Array[int64], i int, x int64) int64 { return a.Add(i, x) }

func RawStructGet(v shm.RawStruct[Line]) Line { return v.Get() }
func StructLoad(v shm.Struct[Line]) Line      { return v.Load() }
func StructStore(v shm.Struct[Line], x Line)  { v.Store(x) }

func AtomicArrayAddInt64(a shm.AtomicArray[int64], i int, x int64) int64 { return a.At(i).Add(x) }

func StructLoadTo(v shm.Struct[Line], x *Line)    { v.LoadTo(x) }
func StructStoreFrom(v shm.Struct[Line], x *Line) { v.StoreFrom(x) }

func RingAppend(r shm.Ring[Line], x Line) uint64 { return r.Append(x) }

func TableRow(t shm.Table[Line], i int) shm.Struct[Line] { return t.Row(i) }
func TableLoad(t shm.Table[Line], i int) Line            { return t.Row(i).Load() }
func TableStore(t shm.Table[Line], i int, x Line)        { t.Row(i).Store(x) }

func MutexLock(mu *shm.Mutex)         { mu.Lock() }
func MutexTryLock(mu *shm.Mutex) bool { return mu.TryLock() }
func MutexUnlock(mu *shm.Mutex)       { mu.Unlock() }

func CounterAddInt64(c shm.Counter[int64], x int64)       { c.Add(x) }
func CounterAddUint64(c shm.Counter[uint64], x uint64)    { c.Add(x) }
func CounterLoadInt64(c shm.Counter[int64]) int64         { return c.Load() }
func CounterAddFloat64(c shm.Counter[float64], x float64) { c.Add(x) }
func GaugeAddInt64(g shm.Gauge[int64], x int64)           { g.Add(x) }
func GaugeSetInt64(g shm.Gauge[int64], x int64)           { g.Set(x) }
func HistogramObserve(h shm.Histogram, x float64)         { h.Observe(x) }
