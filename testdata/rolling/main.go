// Rolling is a worker of a server. It counts on a board that it shares with all other
// workers, of its own version and of another. A test builds it with one of two
// versions of the board's type.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strconv"

	"example.org/shm"
)

func main() {
	s, err := shm.Open(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	var handles struct {
		Board shm.Struct[Board] `shm:"board,help=what the workers have served"`
	}
	if err := shm.Bind(s, &handles); err != nil {
		log.Fatal(err)
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("serving")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "report" {
			fmt.Println(handles.Board.Load())
			continue
		}
		for range n {
			handles.Board.Update((*Board).serve)
		}
		fmt.Println("served", n)
	}
}
