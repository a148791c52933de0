package bench

import (
	"errors"
	"fmt"
	"io"
)

// This file has the way without shared memory. One process, the owner, has the
// number. A client asks the owner to increment it, with a byte that has the client's
// number. The owner answers through a pipe that belongs to the client. The owner
// keeps the number in the segment, where Run reads it at the end. The clients do not
// use the segment.

// pipeCounter is a client.
type pipeCounter struct{ at place }

func openPipe(at place) (counter, error) {
	if at.requests == nil || len(at.replies) != 1 {
		return nil, errors.New("no pipes to the owner")
	}
	return pipeCounter{at}, nil
}

func (c pipeCounter) add(n int) error {
	request, reply := []byte{byte(c.at.client)}, make([]byte, 1)
	for range n {
		if _, err := c.at.requests.Write(request); err != nil {
			return fmt.Errorf("asking the owner: %w", err)
		}
		if _, err := io.ReadFull(c.at.replies[0], reply); err != nil {
			return fmt.Errorf("the owner's answer: %w", err)
		}
	}
	return nil
}

// own serves the clients until all of them have ended.
func own(at place) error {
	number, err := newRaw(at.segment)
	if err != nil {
		return err
	}
	requests := make([]byte, MaxProcs)
	for {
		n, err := at.requests.Read(requests)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, client := range requests[:n] {
			if int(client) >= len(at.replies) {
				return fmt.Errorf("a request of client %d, of %d", client, len(at.replies))
			}
			if err := number.add(1); err != nil {
				return err
			}
			if _, err := at.replies[client].Write([]byte{1}); err != nil {
				return err
			}
		}
	}
}
