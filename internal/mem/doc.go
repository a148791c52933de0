// Package mem is mapped memory: it maps files, makes typed pointers into the
// mapping, reads and writes single words, and turns faults into errors. It is the
// package that takes pointers into a mapping from offsets.
//
// A handle is a pointer into memory that the Go runtime does not manage, so a Get
// costs what a Go pointer costs. These invariants keep that sound:
//
//   - Bounds: every pointer is made by [At] or [Slice], which check the offset
//     and the length against the [Region] before they return it.
//   - Alignment: a mapping starts on a page, so the alignment of an offset is
//     that of the address. At and Slice check it.
//   - Lifetime: a handle holds what owns the Region beside the pointer, and each
//     method keeps it alive until its access is done. Only the cleanup of an
//     unreachable owner calls [Unmap].
//   - No Go pointers in shared memory: numbers have none by construction, and
//     package layout refuses struct types that contain one. So T is, in every
//     generic function here, a type that package layout accepts.
//
// Size, Align, Load, Store, Bits, Word32 and Word64 are on the fast paths of
// package shm and must stay cheap enough to be inlined.
//
// The package imports packages sys and errs of this module.
package mem
