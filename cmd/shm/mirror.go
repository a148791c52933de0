package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/urfave/cli/v3"
)

// mirrorProgram does what "shm mirror" does. It is a module of its own, because it needs
// NATS, which nobody else does.
const mirrorProgram = "shm-mirror"

// mirrorCommand returns the command that runs the program shm-mirror.
func mirrorCommand() *cli.Command {
	return &cli.Command{
		Name:            "mirror",
		Usage:           "keep copies of segments on other machines, through NATS",
		ArgsUsage:       "serve|follow|set|status …",
		SkipFlagParsing: true,
		Description: `Mirror runs the program shm-mirror, which is beside this one or on PATH, with the same arguments.
It is a program of its own because it needs NATS. In a clone of the project:

   go -C cmd/shm-mirror install .

docs/mirror.md of the project tells what it does.

Examples:
   shm mirror serve -embed 127.0.0.1:4222 plant
   shm mirror follow hostA/plant
   shm mirror status`,
		Action: func(ctx context.Context, c *cli.Command) error {
			program, err := findMirror()
			if help := c.Args().First(); err != nil && (help == "-h" || help == "-help" || help == "--help") {
				return cli.ShowSubcommandHelp(c)
			} else if err != nil {
				return err
			}
			p := exec.CommandContext(ctx, program, c.Args().Slice()...)
			p.Stdin, p.Stdout, p.Stderr = os.Stdin, os.Stdout, os.Stderr
			p.Cancel = func() error { return p.Process.Signal(os.Interrupt) } // it tells the replica that it stops
			if err := p.Run(); err != nil {
				if ended, ok := errors.AsType[*exec.ExitError](err); ok && ended.ExitCode() > 0 {
					return statusError{error: err, status: ended.ExitCode(), silent: true}
				}
				return err
			}
			return nil
		},
	}
}

// findMirror returns the path of the program.
func findMirror() (string, error) {
	name := mirrorProgram
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), name)
		if f, err := os.Stat(beside); err == nil && !f.IsDir() {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: go -C cmd/shm-mirror install ., in a clone of the project, installs it", err)
	}
	return path, nil
}
