// Holder locks the number "n" of a segment and holds the lock until it is killed. A
// benchmark measures how long it takes until the next process has the lock. Unlike a
// test binary, Holder has the size of an ordinary program.
//
//	holder SEGMENT MEBIBYTES
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	"example.org/shm"
)

func main() {
	seg, err := shm.Open(os.Args[1], &shm.Options{MustExist: true})
	if err != nil {
		log.Fatal(err)
	}
	n, err := shm.NewValue[int64](seg, "n", 0)
	if err != nil {
		log.Fatal(err)
	}
	mebibytes, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ballast := make([]byte, mebibytes<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	n.Mutex().Lock()
	fmt.Println("locked")
	_, _ = os.Stdin.Read(make([]byte, 1)) // returns when the process that started it ends, unless it is killed before
	log.Fatal("nobody killed the holder, ", len(ballast))
}
