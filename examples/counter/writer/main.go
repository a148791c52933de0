// Writer counts to a thousand in shared memory.
package main

import (
	"flag"
	"log"

	"example.org/shm"
)

func main() {
	name := flag.String("name", "counter", "of the segment")
	flag.Parse()
	seg, err := shm.Open(*name, nil)
	if err != nil {
		log.Fatal(err)
	}
	hits, err := shm.NewValue[int64](seg, "hits", 0)
	if err != nil {
		log.Fatal(err)
	}
	for range 1000 {
		hits.Add(1)
	}
}
