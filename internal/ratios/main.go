//go:build linux

// Ratios compares each operation of package shm with its rival.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

func main() {
	removeWhenInterrupted()
	run := run
	if name := os.Getenv(workerVariable); name != "" {
		run = workers[name]
	}
	err := run(os.Args[1:])
	removeLeftovers()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ratios:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("ratios", flag.ExitOnError)
	pattern := flags.String("run", "", "only comparisons whose name matches `REGEXP`")
	pairs := flags.Int("pairs", 1001, "measure `N` pairs of each")
	batch := flags.Duration("batch", 200*time.Microsecond, "what one side of a pair takes")
	asJSON := flags.Bool("json", false, "print everything as JSON")
	long := flags.Bool("long", false, "also what starts processes, or takes seconds")
	other := flags.String("pair", "", "compare ours here with ours of `BINARY`, this command built from another checkout")
	serving := flags.Bool("serve", false, "do what another run with -pair asks for")
	write := flags.String("write", "", "replace the generated blocks of the page `FILE`; with -long also those of shm bench and of tests that log figures")
	check := flags.String("guard", "", "compare the fast paths with the ratios that `FILE` records, and fail if one is worse")
	record := flags.String("record", "", "measure the fast paths and record their ratios in `FILE`")
	storm := flags.Duration("storm", 20*time.Second, "with -long and -write, how long each test kills processes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *pairs < 1 || *batch <= 0 || flags.NArg() > 0 {
		return errors.New("-pairs and -batch must be above zero, and there are no arguments")
	}
	if *write != "" && (*pattern != "" || *other != "") {
		return errors.New("-write needs all comparisons: leave out -run and -pair")
	}
	switch {
	case *check != "":
		return newGuard().check(*check, fastPaths(comparisons()), os.Stdout)
	case *record != "":
		return newGuard().record(*record, fastPaths(comparisons()), os.Stdout)
	}
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	var all []comparison
	for _, c := range comparisons() {
		if wanted.MatchString(c.name) && (*long || !c.long) && (*other == "" || c.loops != nil) {
			all = append(all, c)
		}
	}
	r := newRunner(*pairs, *batch)
	if *serving {
		return serve(r, all, os.Stdin, os.Stdout)
	}
	rep := report{Machine: thisMachine(), Command: strings.Join(append([]string{"go run ./internal/ratios"}, args...), " ")}
	measure := r.run
	if *other != "" {
		two, err := newPeers(*other)
		if err != nil {
			return err
		}
		measure = func(c *comparison) (*result, error) { return two.run(r, c) }
	}
	for i, c := range all {
		fmt.Fprintf(os.Stderr, "%d of %d: %s\n", i+1, len(all), c.name)
		res, err := measure(&c)
		switch {
		case errors.Is(err, errMissing):
			rep.Missing = append(rep.Missing, err.Error())
		case err != nil:
			return err
		default:
			rep.Results = append(rep.Results, *res)
		}
	}
	var failed error // of what comes after the ratios, which are not lost for it
	if *write != "" {
		if *long {
			var noTable, noLogs error
			rep.Table, noTable = shmBench()
			rep.Logs, noLogs = testLogs(*storm)
			failed = errors.Join(noTable, noLogs)
		}
		failed = errors.Join(failed, rewrite(*write, rep.blocks()))
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return errors.Join(failed, e.Encode(rep))
	}
	_, err = fmt.Println(render(rep.Results))
	return errors.Join(failed, err)
}
