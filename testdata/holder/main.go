// Holder locks the number "n" of a segment and keeps it until it is killed: a
// Go program of the size that programs have, unlike a test binary, for the
// benchmark of what follows.
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
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed, or whoever started it ends
	log.Fatal("nobody killed the holder, ", len(ballast))
}
