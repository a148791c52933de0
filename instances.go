package shm

// The compiler compiles a generic method in the package that uses it. It
// can inline a function of an internal package there only if that function's body
// is in this package's export data, and it puts a body there only if this package
// has inlined the function itself. The references below make it do so for each
// verb. Without them RawValue.Get costs 74 units of the inliner's budget of 80
// instead of 17, and Value.Load, at 133, is a call.
//
// Source: cmd/compile/internal/noder/linker.go.
var (
	_ = RawValue[int64].Get
	_ = RawValue[int64].Set
	_ = RawArray[int64].Get
	_ = RawArray[int64].Set
	_ = RawStruct[int64].Get
	_ = RawStruct[int64].Set

	_ = Atomic[int64].Load
	_ = Atomic[int64].Store
	_ = Atomic[int64].Swap
	_ = Atomic[int64].CompareAndSwap
	_ = Atomic[int64].Add
	_ = Atomic[int64].And
	_ = Atomic[int64].Or

	_ = AtomicArray[int64].At

	_ = Value[int64].Load
	_ = Value[int64].Store
	_ = Value[int64].Swap
	_ = Value[int64].CompareAndSwap
	_ = Value[int64].Add
	_ = Value[int64].Update

	_ = Array[int64].Load
	_ = Array[int64].Store
	_ = Array[int64].Add
	_ = Array[int64].WithLock

	_ = Struct[int64].Load
	_ = Struct[int64].LoadTo
	_ = Struct[int64].Store
	_ = Struct[int64].StoreFrom
	_ = Struct[int64].Update

	_ = Table[int64].Row

	_ = Ring[int64].Append
	_ = (*RingReader[int64]).Next

	_ = Counter[int64].Add
	_ = Counter[int64].Load
	_ = Gauge[int64].Set
	_ = Gauge[int64].Add
	_ = Gauge[int64].Load
)
