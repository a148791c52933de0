package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	docs "github.com/urfave/cli-docs/v3"
	"github.com/urfave/cli/v3"
)

// completes makes a command complete names: of segments for the first arguments, and of
// values for those that follow. If values is false, all arguments are segments.
func completes(c *cli.Command, first int, values bool) *cli.Command {
	c.ShellComplete = func(ctx context.Context, c *cli.Command) {
		args := c.Args().Slice()
		if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "-") {
			cli.DefaultCompleteWithFlags(ctx, c)
			return
		}
		switch {
		case len(args) < first:
			completeWords(c, []string{"go", "c", "python"}) // of gen, the only such command
		case len(args) == first || !values:
			names, _, err := segments.Names()
			if err == nil {
				completeWords(c, names)
			}
		default:
			completeWords(c, valueNames(args[first]))
		}
	}
	return c
}

// valueNames returns the names of a segment's values; none if it cannot be read.
func valueNames(segment string) (names []string) {
	s, err := segments.Look(segment)
	if err != nil {
		return nil
	}
	defer s.Close()
	for e := range s.Entries() {
		names = append(names, e.Name)
	}
	return names
}

// completeWords offers words to the shell. A word that a shell would split or interpret
// is left out: the names come from memory that others write.
func completeWords(c *cli.Command, words []string) {
	for _, w := range words {
		if w == form.Name(w) && !strings.ContainsAny(w, " \t:;&|<>()$`\\\"'*?[]{}!#~=%") {
			fmt.Fprintln(c.Root().Writer, w)
		}
	}
}

// bashCompletion is the script for bash. That of the library needs the package
// bash-completion, and runs what is in the line as a command of the shell.
const bashCompletion = `_shm() {
  local cur=${COMP_WORDS[COMP_CWORD]} line
  local -a words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $cur == -* ]] && words+=("$cur")
  COMPREPLY=()
  while IFS= read -r line; do
    line=${line%%:*} # what follows is a description
    [[ $cur == -[!-]* && $line == --* ]] && line=${line#-}
    [[ $line == "$cur"* ]] && COMPREPLY+=("$line")
  done < <("${words[@]}" --generate-shell-completion 2>/dev/null)
}
complete -o bashdefault -o default -F _shm shm
`

// fishCompletion is the script for fish. That of the library leaves out segments whose name
// begins as that of the program does.
const fishCompletion = `function __shm_words
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    string match -q -- '-*' $current; and set -a words $current
    $words --generate-shell-completion 2>/dev/null | string replace ':' \t
end
complete -c shm -e
complete -c shm -f -a '(__shm_words)'
`

// configureCompletion shows the command that prints the completion scripts. The library makes
// that for zsh.
func configureCompletion(c *cli.Command) {
	c.Hidden = false
	c.Usage = "print a completion script for bash, zsh or fish"
	c.HideHelpCommand = true
	c.OnUsageError = badUsage
	c.ArgsUsage = "bash|zsh|fish"
	c.Description = `The scripts complete commands, flags, and the names of segments and values.

Examples:
   source <(shm completion bash)                                  # in .bashrc
   source <(shm completion zsh)                                   # in .zshrc
   shm completion fish > ~/.config/fish/completions/shm.fish`
	for _, shell := range c.Commands {
		shell.Hidden = shell.Name == "pwsh" // nobody has tested that script
		if script := map[string]string{"bash": bashCompletion, "fish": fishCompletion}[shell.Name]; script != "" {
			shell.Action = func(_ context.Context, c *cli.Command) error {
				_, err := io.WriteString(c.Root().Writer, script)
				return err
			}
		}
	}
	c.Action = func(_ context.Context, c *cli.Command) error {
		return usageError{fmt.Errorf("no completion for the shell %q: give bash, zsh or fish", c.Args().First())}
	}
}

// manCommand returns the command that prints the man page.
func manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the man page",
		Description: `Man prints the manual of all commands as a man page.

Examples:
   shm man | man -l -
   shm man > /usr/local/share/man/man1/shm.1`,
		Action: func(_ context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			tellMore(c.Root(), c.Root().Name)
			page, err := docs.ToManWithSection(c.Root(), 1)
			if err != nil {
				return err
			}
			// A line that begins with an apostrophe would be a request of troff, and be left out.
			_, err = fmt.Fprint(c.Root().Writer, strings.ReplaceAll(page, "\n'", "\n\\&'"))
			return err
		},
	}
}

// tellMore makes the man page have the arguments, the description and the examples of the
// commands below one.
func tellMore(c *cli.Command, called string) {
	for _, sub := range c.Commands {
		name := called + " " + sub.Name
		sub.UsageText = strings.TrimSpace(name+" "+sub.ArgsUsage) + "\n\n" + sub.Description
		tellMore(sub, name)
	}
}
