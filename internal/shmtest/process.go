package shmtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Process is a running process that talks by lines. It is killed when the test
// ends.
//
// If the process does not do what a method waits for within two minutes, the
// method ends the test.
type Process struct {
	Cmd   *exec.Cmd
	Stdin io.WriteCloser

	t     TB
	out   *os.File
	lines *bufio.Scanner
}

// Start starts a helper.
func Start(t TB, helper string, args ...string) *Process {
	t.Helper()
	return StartCmd(t, helper, nil, args...)
}

// StartCmd starts a helper after change has changed its command.
func StartCmd(t TB, helper string, change func(*exec.Cmd), args ...string) *Process {
	t.Helper()
	cmd, err := Command(helper, args...)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cmd)
	}
	return StartProgram(t, cmd)
}

// StartWithFiles starts a helper that inherits files, from descriptor 3 on.
func StartWithFiles(t TB, helper string, files ...*os.File) *Process {
	t.Helper()
	return StartCmd(t, helper, func(cmd *exec.Cmd) { cmd.ExtraFiles = files })
}

// StartProgram starts any program that talks as a helper does. Its standard
// error is the test's, unless the command says otherwise.
func StartProgram(t TB, cmd *exec.Cmd) *Process {
	t.Helper()
	if t == InHelper {
		dieWithParent(cmd)
	}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe() // Unlike cmd.StdoutPipe it has deadlines.
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdout = in
	if err := cmd.Start(); err != nil {
		_ = out.Close()
		t.Fatal(err)
	}
	p := &Process{cmd, stdin, t, out, bufio.NewScanner(out)}
	t.Cleanup(p.Kill)
	return p
}

// Replies reads lines from the standard input of a helper and prints the answer
// to each. It returns when the input ends or answer returns an error.
func Replies(answer func(words []string) (string, error)) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		line, err := answer(strings.Fields(in.Text()))
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return in.Err()
}

// Next returns the next line that the process prints. It returns false if there
// is none: because the process has closed its output, because Kill was called,
// or because two minutes have passed. It may run in any goroutine.
func (p *Process) Next() (line string, ok bool) {
	_ = p.out.SetReadDeadline(time.Now().Add(tooLong)) // It fails after Kill.
	if !p.lines.Scan() {
		return "", false
	}
	return p.lines.Text(), true
}

// Line returns the next line that the process prints.
func (p *Process) Line() string {
	p.t.Helper()
	line, ok := p.Next()
	if err := p.lines.Err(); errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("%v printed nothing for %v", p, tooLong)
	} else if !ok {
		p.t.Fatalf("%v ended and printed no more line: %v", p, err)
	}
	return line
}

// Expect ends the test unless the next line is want.
func (p *Process) Expect(want string) {
	p.t.Helper()
	if got := p.Line(); got != want {
		p.t.Fatalf("%v printed %q, want %q", p, got, want)
	}
}

// Say sends a line to the process.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.Stdin, line); err != nil {
		p.t.Fatalf("%v: %v", p, err)
	}
}

// Ask sends a line to the process and returns the next line that it prints.
func (p *Process) Ask(line string) string {
	p.t.Helper()
	p.Say(line)
	return p.Line()
}

// Do sends a line to the process and ends the test unless the next line that it
// prints is want.
func (p *Process) Do(line, want string) {
	p.t.Helper()
	p.Say(line)
	p.Expect(want)
}

// Pid returns the id of the process.
func (p *Process) Pid() int { return p.Cmd.Process.Pid }

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v: %v", p, err)
	}
}

// Kill kills the process as kill -9 does and waits until it has ended. What it
// has printed is lost. Kill does nothing to a process that has ended.
func (p *Process) Kill() {
	if p.Cmd.ProcessState == nil {
		_ = p.Cmd.Process.Kill()
		_ = p.Cmd.Wait()
	}
	_ = p.out.Close()
}

// End closes the process's standard input, reads what it prints, waits until it
// has ended, and returns the error of [exec.Cmd.Wait].
func (p *Process) End() error {
	late := time.AfterFunc(tooLong, func() { _ = p.Cmd.Process.Kill() })
	defer late.Stop()
	_ = p.Stdin.Close()
	_ = p.out.SetReadDeadline(time.Now().Add(tooLong)) // Its children may still have the output open.
	for p.lines.Scan() {
	}
	err := p.Cmd.Wait()
	_ = p.out.Close()
	return err
}

// Wait is End for a process that has to end with exit status 0.
func (p *Process) Wait() {
	p.t.Helper()
	if err := p.End(); err != nil {
		p.t.Fatalf("%v: %v", p, err)
	}
}

// String returns the words that errors name the process by.
func (p *Process) String() string {
	for _, v := range p.Cmd.Env {
		if name, ok := strings.CutPrefix(v, HelperVariable+"="); ok {
			return "helper " + name
		}
	}
	return p.Cmd.Path
}
