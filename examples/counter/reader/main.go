// Reader sleeps until there are a thousand hits, and prints how many.
package main

import (
	"context"
	"flag"
	"fmt"
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
	n, err := hits.Await(context.Background(), func(n int64) bool { return n >= 1000 })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "hits")
	if err := shm.Remove(*name); err != nil {
		log.Fatal(err)
	}
}
