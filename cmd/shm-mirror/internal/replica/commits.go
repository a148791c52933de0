package replica

import (
	"fmt"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
)

// Commit is which commit of the owner a value of a replica is, as -if of "shm mirror set"
// takes it.
type Commit struct {
	Name   string `json:"name"`
	Row    *int   `json:"row,omitempty"` // of a Table
	Commit uint64 `json:"commit"`        // of a Ring: the number at the owner of the newest value
}

// Commits returns the commits of a replica's values.
func Commits(name string) ([]Commit, error) {
	s, err := shm.Open(name, &shm.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, found := s.Lookup(agentName); !found {
		return nil, fmt.Errorf("%s: %w", shm.Path(name), ErrNoReplica)
	}
	var st Status
	if err := shm.Bind(s, &st); err != nil {
		return nil, err
	}
	o, err := wire.ParseOrigin(st.Origin.Load())
	if err != nil {
		return nil, err
	}
	commits, err := openNumbers(s, commitsPrefix)
	if err != nil {
		return nil, err
	}
	offsets, err := openNumbers(s, offsetsPrefix)
	if err != nil {
		return nil, err
	}
	all := []Commit{}
	for e := range s.Entries() {
		if own(e.Name) {
			continue
		}
		for part := range e.Parts() {
			c := Commit{Name: e.Name}
			if e.Parts() > 1 {
				c.Row = &part
			}
			if key := o.Key(e.Name, part, e.Parts()); !isRing(e) {
				c.Commit = max(commits.get(key), 1) - 1
			} else if _, here, err := e.Bytes(0); err == nil {
				c.Commit = here + offsets.get(key)
			}
			all = append(all, c)
		}
	}
	return all, nil
}
