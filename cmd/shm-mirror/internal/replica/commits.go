package replica

import (
	"fmt"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
)

// Commit is which commit of the owner a value of a replica is, as -if of "shm mirror set"
// takes it.
type Commit struct {
	Name   string       `json:"name"`
	Row    *int         `json:"row,omitempty"`    // of a Table
	Commit *wire.Commit `json:"commit,omitempty"` // nil: nothing of this epoch has arrived. Of a Ring: the number at the owner of the newest value
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
	// Before the numbers: they are forgotten before another epoch begins, so they are of this
	// epoch or of a later one, and the owner refuses a commit of an epoch that is over.
	var epoch wire.Epoch
	if all := strings.Fields(st.Epochs.Load()); len(all) > 0 {
		if err := epoch.UnmarshalText([]byte(all[0])); err != nil {
			return nil, fmt.Errorf("value %q: %w", "mirror/epochs", err)
		}
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
				if n := commits.get(key); n != 0 {
					c.Commit = &wire.Commit{Number: n - 1, Epoch: epoch}
				}
			} else if _, here, err := e.Bytes(0); err == nil {
				c.Commit = &wire.Commit{Number: here + offsets.get(key), Epoch: epoch}
			}
			all = append(all, c)
		}
	}
	return all, nil
}
