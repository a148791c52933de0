package shm

// Entry is a named value as the directory describes it.
type Entry struct {
	Name    string
	Layout  Layout // of one element; zero for a mutex
	Len     int    // elements of an array, bytes of a C string, 0 for a single value
	Access  Access
	Unit    string
	Help    string
	Pid     int    // of the process that made it
	Program string // that made it

	m      *mapping
	record *record
}

func (e Entry) filled() Entry {
	r := e.record
	e.Name, e.Len, e.Access, e.Unit, e.Help, e.Pid, e.Program = r.name, int(r.count), r.access, r.unit, r.help, int(r.pid), r.program
	if r.layout != nil {
		e.Layout = r.layout.clone()
	}
	return e
}
