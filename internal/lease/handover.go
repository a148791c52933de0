package lease

import (
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"example.org/shm/internal/sys"
)

// passPrefix starts the name of the environment variable that tells a child where
// an inherited segment is. The segment's name in hexadecimal follows it.
const passPrefix = "SHM_SEGMENT_" // #nosec G101 -- it is no secret

// PassVariable returns the name of the environment variable for the segment of a name.
// Its value is the text of a Passing.
func PassVariable(name string) string { return passPrefix + hex.EncodeToString([]byte(name)) }

// Passing is what the environment says of a segment that a parent has passed.
type Passing struct {
	FD     int
	Key    sys.Key
	Socket int // descriptor of a socket in which a description for the lease waits; 0: none
}

// String returns descriptor:device:inode, and :socket if there is one.
func (p Passing) String() string {
	if p.Socket == 0 {
		return fmt.Sprintf("%d:%v", p.FD, p.Key)
	}
	return fmt.Sprintf("%d:%v:%d", p.FD, p.Key, p.Socket)
}

// ParsePassing reads what String returns.
func ParsePassing(text string) (p Passing, ok bool) {
	words := strings.Split(text, ":")
	if len(words) != 3 && len(words) != 4 {
		return p, false
	}
	var numbers [4]uint64
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 64)
		isDescriptor := i == 0 || i == 3
		if err != nil || isDescriptor && (n < 3 || n > math.MaxInt32) {
			return p, false
		}
		numbers[i] = n
	}
	return Passing{int(numbers[0]), sys.Key{Dev: numbers[1], Ino: numbers[2]}, int(numbers[3])}, true
}

// passed has the descriptions that this process's parent has handed over. They stay
// open, for a process that can have no other: it may attach again after its last
// mapping of the file has ended, or for writing after it has attached for reading. No two
// mappings in use have one for their leases at a time.
var passed = struct {
	sync.Mutex
	files map[sys.Key]*os.File
}{files: map[sys.Key]*os.File{}}

// Receive takes the description of a file that the parent of this process has left in a
// socket for the lease, if there is one, and closes the socket. An attachment that only
// reads does so too: no process that this one starts is to find the socket open. What
// cannot be received is left alone: the process opens the file by itself then.
func Receive(key sys.Key, path string) {
	passed.Lock()
	defer passed.Unlock()
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		p, ok := ParsePassing(value)
		if !ok || !strings.HasPrefix(name, passPrefix) || p.Key != key || p.Socket == 0 {
			continue
		}
		file, err := sys.Receive(p.Socket, key, path)
		switch {
		case err != nil:
		case passed.files[key] != nil:
			_ = file.Close() // One is enough.
		default:
			passed.files[key] = file
		}
	}
}
