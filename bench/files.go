package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/edsrzf/mmap-go"
	"github.com/gofrs/flock"
	"go.etcd.io/bbolt"
)

func init() {
	inGo["flock"] = openFlock
	inGo["bbolt"] = openBolt
}

// openFlock is a mapped file under gofrs/flock.
func openFlock(dir string) (verbs, error) {
	path := filepath.Join(dir, "flock")
	open := func() (mmap.MMap, error) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := f.Truncate(4096); err != nil {
			return nil, err
		}
		return mmap.MapRegion(f, 4096, mmap.RDWR, 0, 0)
	}
	m, err := open()
	if err != nil {
		return verbs{}, err
	}
	lock := flock.New(path + ".lock")
	held := func(f func()) error {
		if err := lock.Lock(); err != nil {
			return err
		}
		f()
		return lock.Unlock()
	}
	ne := binary.NativeEndian
	return verbs{
		add:   func() error { return held(func() { ne.PutUint64(m, ne.Uint64(m)+1) }) },
		total: func() (n uint64, err error) { err = held(func() { n = ne.Uint64(m) }); return n, err },
		write: func(r *Record) error {
			return held(func() {
				for i, w := range r {
					ne.PutUint64(m[64+8*i:], w)
				}
			})
		},
		read: func(r *Record) error {
			return held(func() {
				for i := range r {
					r[i] = ne.Uint64(m[64+8*i:])
				}
			})
		},
		attach: func() error {
			again, err := open()
			if err != nil {
				return err
			}
			_ = ne.Uint64(again) // maps the page
			return again.Unmap()
		},
		lock: func() error { return lock.Lock() },
		mismatch: func() string {
			n := ne.Uint64(m)
			return fmt.Sprintf("accepted, garbage: %d is %g", n, math.Float64frombits(n))
		},
	}, nil
}

// openBolt is a bbolt database, which one process at a time may have open: each operation
// opens it.
func openBolt(dir string) (verbs, error) {
	path := filepath.Join(dir, "bbolt")
	bucket := []byte("v")
	var locked *bbolt.DB
	with := func(f func(b *bbolt.Bucket) error) error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
		if err != nil {
			return err
		}
		defer db.Close()
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			return f(b)
		})
	}
	number := func(b *bbolt.Bucket) uint64 {
		if v := b.Get([]byte("count")); len(v) == 8 {
			return binary.BigEndian.Uint64(v)
		}
		return 0
	}
	return verbs{
		add: func() error {
			return with(func(b *bbolt.Bucket) error {
				return b.Put([]byte("count"), binary.BigEndian.AppendUint64(nil, number(b)+1))
			})
		},
		total: func() (n uint64, err error) {
			err = with(func(b *bbolt.Bucket) error { n = number(b); return nil })
			return n, err
		},
		write: func(r *Record) error {
			return with(func(b *bbolt.Bucket) error { return b.Put([]byte("record"), bytesOf(r)) })
		},
		read: func(r *Record) error {
			return with(func(b *bbolt.Bucket) error { setBytes(r, b.Get([]byte("record"))); return nil })
		},
		attach: func() error { return with(func(*bbolt.Bucket) error { return nil }) },
		lock: func() (err error) { // until the process ends
			if locked, err = bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true}); err == nil {
				_, err = locked.Begin(true)
			}
			return err
		},
		mismatch: func() (found string) {
			err := with(func(b *bbolt.Bucket) error {
				n := number(b)
				found = fmt.Sprintf("accepted, garbage: %d is %g", n, math.Float64frombits(n))
				return nil
			})
			if err != nil {
				return err.Error()
			}
			return found
		},
	}, nil
}

func bytesOf(r *Record) (b []byte) {
	for _, w := range r {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}

func setBytes(r *Record, b []byte) {
	for i := range r {
		if len(b) >= 8 {
			r[i] = binary.BigEndian.Uint64(b)
			b = b[8:]
		}
	}
}
