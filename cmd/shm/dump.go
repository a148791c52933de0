package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"github.com/urfave/cli/v3"
)

// dumpCommand returns the command that writes a segment as JSON.
func dumpCommand() *cli.Command {
	return &cli.Command{
		Name:      "dump",
		Usage:     "write a segment as JSON",
		ArgsUsage: "SEG",
		Description: `Dump writes all values of a segment, with their types, as one JSON document, which load and
diff read. Its schema:

   {"schema": 1, "segment": NAME, "taken": TIME, "values": [
      {"name": …, "type": …, "layout": …, "len": …, "unit": …, "hint": …, "help": …, "value": …}]}

A number is a number; NaN, the infinities and complex numbers are strings; a struct is an
object, an array a list, and characters are a string, or a list of bytes if they are not
UTF-8. A lock has the value null. So has a value that is too large to be shown: "error" says
that, as dump does on standard error. Each value is what it was at one moment; different values
may be of different moments. If dump is interrupted the file is cut off; load and diff refuse
such a file.

Examples:
   shm dump board > board.json
   shm diff board.json board`,
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			s, err := segments.Look(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			d, damage := segments.DumpOf(s)
			if damage != nil {
				return damage // half a dump would be taken for a whole one
			}
			for _, v := range d.Values {
				if v.Error != "" {
					fmt.Fprintf(os.Stderr, "shm: %s is not in the dump: %s\n", form.Name(v.Name), form.Line(v.Error))
				}
			}
			p := &form.Printer{W: os.Stdout, Err: os.Stderr, Form: form.JSON}
			return p.Document(d)
		},
	}
}

func readDump(files []string) (*segments.Dump, error) {
	in := io.Reader(os.Stdin)
	if len(files) > 0 {
		f, err := os.Open(files[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return segments.ReadDump(in)
}
