package shmtest_test

import (
	"fmt"
	"testing"

	"example.org/shm"
	"example.org/shm/shmtest"
)

// The code below is in docs/testing.md.

// bank has two accounts, whose sum is 100 whenever nobody has the lock.
type bank struct {
	mu       *shm.Mutex
	from, to shm.RawValue[int64]
}

func openBank(s *shm.Segment) bank {
	return bank{must(shm.NewMutex(s, "mu")), must(shm.NewRawValue[int64](s, "from", 100)), must(shm.NewRawValue[int64](s, "to", 0))}
}

func (b bank) transfer(n int64) {
	b.lock()
	defer b.mu.Unlock()
	b.from.Set(b.from.Get() - n)
	b.to.Set(b.to.Get() + n)
}

func (b bank) lock() {
	b.mu.Lock()
	if b.mu.Abandoned() { // The last owner died, perhaps in the middle of a transfer.
		b.to.Set(100 - b.from.Get())
	}
}

func (b bank) audit() error {
	b.lock()
	defer b.mu.Unlock()
	if sum := b.from.Get() + b.to.Get(); sum != 100 {
		return fmt.Errorf("the sum is %d", sum)
	}
	return nil
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	b := openBank(shmtest.Segment(t, nil))
	b.transfer(10)
	if from, to := b.from.Get(), b.to.Get(); from != 90 || to != 10 {
		t.Errorf("the accounts have %d and %d", from, to)
	}
}

func TestManyProcessesTransfer(t *testing.T) {
	t.Parallel()
	s := shmtest.Segment(t, nil)
	b := openBank(s)
	transferMany := func(s *shm.Segment) {
		for b := openBank(s); b.to.Get() < 50; {
			b.transfer(1)
		}
	}
	first, second := shmtest.Process(t, s, transferMany), shmtest.Process(t, s, transferMany)
	first.Wait()
	second.Wait()
	if err := b.audit(); err != nil {
		t.Error(err)
	}
}

func TestKilledTransfer(t *testing.T) {
	t.Parallel()
	s := shmtest.Segment(t, nil)
	b := openBank(s)
	p := shmtest.Process(t, s, func(s *shm.Segment) {
		for b := openBank(s); ; {
			b.transfer(1)
		}
	})
	for b.to.Get() < 50 { // It is at work.
	}
	p.Kill()
	if err := b.audit(); err != nil {
		t.Error(err)
	}
}

func TestCrashOfTransfer(t *testing.T) {
	t.Parallel()
	states := shmtest.States(t,
		func(s *shm.Segment) { openBank(s) },
		func(s *shm.Segment) { openBank(s).transfer(10) },
		func(s *shm.Segment) error { return openBank(s).audit() })
	t.Logf("checked %d states", states)
}
