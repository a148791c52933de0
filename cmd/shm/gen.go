package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"example.org/shm/cmd/shm/internal/generate"
	"example.org/shm/cmd/shm/internal/segments"
	"github.com/urfave/cli/v3"
)

// genCommand returns the command that writes source text.
func genCommand() *cli.Command {
	languages := []string{generate.Go, generate.C, generate.Python}
	return &cli.Command{
		Name:      "gen",
		Usage:     "write source text that declares the values of a segment",
		ArgsUsage: "go|c|python SEG",
		Description: `Gen writes to standard output what a program needs to use a segment: for Go a struct for
shm.Bind; for C a header with the structs, names and formats; for Python a module with the
classes of ctypes and a class that attaches to all values. The layouts are those of the segment.
A struct whose fields are where no compiler would put them is an error; so is, for Go, a comma
in a name. A name that is a keyword gets an underscore.

Examples:
   shm gen go board > board/board.go
   shm gen c board > board.h
   shm gen python board > board.py`,
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 2, 2)
			if err != nil {
				return err
			}
			if !slices.Contains(languages, args[0]) {
				return usageError{fmt.Errorf("no language %q: it is go, c or python", args[0])}
			}
			s, err := segments.Look(args[1])
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Check(); err != nil {
				return err
			}
			text, err := generate.Source(args[0], args[1], slices.Collect(s.Entries()))
			if err != nil {
				return err
			}
			_, err = os.Stdout.WriteString(text)
			return err
		},
	}
}
