// Set changes the settings of all running daemons: those that are given as
// flags, and no others.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"strconv"
	"time"

	"example.org/shm/examples/settings/settings"
)

func main() {
	log.SetFlags(0)
	name := flag.String("name", "settings", "of the segment")
	var changes []func(*settings.Settings)
	flag.Func("interval", "between greetings", func(text string) error {
		d, err := time.ParseDuration(text)
		if err == nil && d <= 0 {
			err = errors.New("not above zero")
		}
		changes = append(changes, func(s *settings.Settings) { s.Interval = d })
		return err
	})
	flag.Func("greeting", "what to say", func(text string) error {
		g, err := settings.Greeting(text)
		changes = append(changes, func(s *settings.Settings) { s.Greeting = g })
		return err
	})
	flag.BoolFunc("loud", "in capitals", func(text string) error {
		loud, err := strconv.ParseBool(text)
		changes = append(changes, func(s *settings.Settings) { s.Loud = loud })
		return err
	})
	flag.Parse()

	shared, err := settings.Open(*name)
	if err != nil {
		log.Fatal(err)
	}
	// Two of these commands at once do not undo each other's changes: Update has
	// what the other committed.
	shared.Update(func(s *settings.Settings) {
		for _, change := range changes {
			change(s)
		}
	})
	fmt.Println(shared.Load())
}
