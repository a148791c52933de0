// Package race tells the race detector about accesses to shared memory.
//
// The race detector ignores memory outside the Go heap. It sees neither a data
// race on a shared value nor the order that a lock in shared memory creates. So
// each place in memory gets a cell on the heap that stands for it, one for all
// mappings of the file in this process. A [Token] reports the order that a lock
// or an atomic creates. A [Shadow] reports an access without synchronisation.
//
// In builds without -race the types are empty and their methods do nothing.
//
// The package imports nothing of this module.
package race
