// Set changes the settings of all running daemons. It changes only the settings that
// are given as flags.
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
	name := flag.String("name", "settings", "name of the segment")
	var changes []func(*settings.Settings)
	flag.Func("interval", "time between greetings", func(text string) error {
		d, err := time.ParseDuration(text)
		if err == nil && d <= 0 {
			err = errors.New("not above zero")
		}
		changes = append(changes, func(s *settings.Settings) { s.Interval = d })
		return err
	})
	flag.Func("greeting", "text to print", func(text string) error {
		g, err := settings.Greeting(text)
		changes = append(changes, func(s *settings.Settings) { s.Greeting = g })
		return err
	})
	flag.BoolFunc("loud", "print in capitals", func(text string) error {
		loud, err := strconv.ParseBool(text)
		changes = append(changes, func(s *settings.Settings) { s.Loud = loud })
		return err
	})
	flag.Parse()

	shared, err := settings.Open(*name)
	if err != nil {
		log.Fatal(err)
	}
	// If two of these commands run at once, neither undoes the changes of the other:
	// the function that Update calls gets the settings that the other has committed.
	shared.Update(func(s *settings.Settings) {
		for _, change := range changes {
			change(s)
		}
	})
	fmt.Println(shared.Load())
}
