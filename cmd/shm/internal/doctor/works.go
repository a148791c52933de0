package doctor

import (
	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// works makes a segment, and takes a lock in it.
func works() Finding {
	const check = "a segment and a lock"
	err := func() error {
		s, err := shm.Anonymous(nil)
		if err != nil {
			return err
		}
		defer s.Close()
		v, err := shm.NewValue(s, "n", int64(0))
		if err != nil {
			return err
		}
		v.Add(1)
		return nil
	}()
	if err != nil {
		return Finding{check, Bad, form.Line(err.Error()), "programs on this machine get this error as well"}
	}
	return Finding{check, Fine, "made and taken", ""}
}
