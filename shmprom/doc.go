// Package shmprom shows the values of a segment to Prometheus: a Collector reads them
// whenever it is asked, from outside or from inside the programs that share them.
//
//	prometheus.MustRegister(shmprom.New("board", nil))
//
// It disturbs nobody. For each scrape it attaches without write permission, and detaches
// after it: it takes no lock and no lease, makes no value, and waits for nobody who is
// stopped or dead. The next run of the garbage collector unmaps the memory, so a segment
// that was removed is not kept.
//
// # What becomes what
//
//	Counter, hint=counter, a name that ends in _total   counter
//	Gauge, hint=gauge, hint=duration, hint=time, bool   gauge
//	Histogram                                           histogram
//	any other number                                    unknown (in the older text format: untyped)
//	the fields of a Struct                              a metric each: config.MaxConns is config_max_conns
//	Array, AtomicArray, RawArray                        a series for each element, with the label index
//	Table                                               a series for each row, with the label row
//	String, CharArray, hint=text                        left out, except with Rule.Info
//	Mutex, Mutexes                                      counted in shm_segment_locks
//	Ring, complex numbers                               left out, and counted in shm_segment_left_out
//
// Options.Rule changes that for single values and fields.
//
// Names follow the rules of OpenMetrics: letters of lower case with underscores, the unit
// at the end, _total at the end of a counter. Units are base units: a value whose unit is
// ms, or that has the hint duration, is shown in seconds, MiB as bytes, % as ratio. A value
// with the hint time, started, is started_timestamp_seconds. If two names of a segment
// become the same, the later one is escaped as Prometheus does it (U__…). If a value is of
// another type in another segment, it gets the type in its name there: queue_unknown.
//
// A number is a float64 to Prometheus, so integers above 2^53 are rounded.
//
// # Processes that die
//
// Counters and histograms have what dead processes have counted, once, because that stays
// in the segment. They go on from there when programs start again, so they have no jump,
// and need no file for each process. A Gauge has the living alone, as the sum, the
// smallest, the largest, or a series for each. Who lives is what the lease in the kernel
// says, not a pid. The rows of a Table can have owners, see Rule.Owners.
//
// # Beside them
//
// Each segment has these, with the label segment:
//
//	shm_segment_up            1, or 0 if it cannot be read or is damaged
//	shm_segment_bytes         memory in use
//	shm_segment_values        named values
//	shm_segment_processes     living processes that use its locks, counters or gauges
//	shm_segment_locks         locks that are held, by state="living" and by state="dead" processes
//	shm_segment_left_out      values, or parts of them, that are numbers and are not shown
package shmprom
