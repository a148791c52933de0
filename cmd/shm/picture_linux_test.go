package main

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
)

// picture makes TestWatchPicture write what it sees.
var picture = flag.String("picture", "", "write PATH-light.svg and PATH-dark.svg; PATH counts from the root of the repository")

// The size of the terminal in the picture.
const (
	pictureWidth  = 104
	pictureHeight = 18
)

// TestWatchPicture runs watch in a terminal of tmux, beside a process that changes values
// and one that was killed while it held a lock, and checks that the screen shows both. With
// -picture it draws the screen.
func TestWatchPicture(t *testing.T) {
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	seg := filepath.Join(dir, "board")
	worker := filepath.Join(dir, "worker")
	copied(t, os.Args[0], worker)
	role := func(role string) []string { return append(os.Environ(), roleVariable+"="+role+" "+seg) }
	made := exec.Command(worker, "-test.run=^$")
	made.Env = role("make")
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	startProgram(t, worker, role("busy"))
	dead := startProgram(t, worker, role("guard"))
	dead.signal(t, syscall.SIGKILL)
	_ = dead.Wait()

	socket := filepath.Join(dir, "tmux")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(tmux, append([]string{"-S", socket, "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("new-session", "-d", "-x", fmt.Sprint(pictureWidth), "-y", fmt.Sprint(pictureHeight), "cd '"+dir+"' && exec '"+tool+"' watch -i 250ms ./board")
	t.Cleanup(func() { _ = exec.Command(tmux, "-S", socket, "kill-server").Run() })
	run("set", "-g", "status", "off")
	run("send-keys", "s")
	run("send-keys", "?")
	var text string
	eventually(t, "a full screen", func() bool {
		text = run("capture-pane", "-p")
		return strings.Contains(text, "DEAD") && strings.Contains(text, "served since the start") && strings.Count(text, "█") >= 2 && strings.Contains(text, "▁")
	})
	if *picture == "" {
		return
	}
	eventually(t, "a whole history", func() bool { // of 16 looks
		return regexp.MustCompile(`[▁-█]{16}`).MatchString(run("capture-pane", "-p"))
	})
	screen := run("capture-pane", "-p", "-e")
	for theme, colours := range map[string][2]string{"light": {"#ffffff", "#1f2328"}, "dark": {"#0d1117", "#f0f6fc"}} {
		path := filepath.Join("../..", *picture+"-"+theme+".svg")
		if err := os.WriteFile(path, drawScreen(screen, colours[0], colours[1]), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// drawScreen draws a screen with the escape sequences for bold and reverse as an SVG.
func drawScreen(screen, paper, ink string) []byte {
	const charWidth, lineHeight, margin = 7.2, 17.0, 10.0
	var b bytes.Buffer
	width, height := pictureWidth*charWidth+2*margin, pictureHeight*lineHeight+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", paper)
	fmt.Fprintf(&b, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="12" fill="%s" xml:space="preserve">`+"\n", ink)
	escape := regexp.MustCompile(`\x1b\[([\d;]*)m`)
	bold, reverse := false, false // until the next escape sequence, also across lines
	for row, line := range strings.Split(strings.TrimRight(screen, "\n"), "\n") {
		y, column := margin+float64(row+1)*lineHeight, 0
		draw := func(text string) {
			n := utf8.RuneCountInString(text)
			if n == 0 {
				return
			}
			x := margin + float64(column)*charWidth
			column += n
			if reverse {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y-lineHeight+4, float64(n)*charWidth, lineHeight, ink)
			}
			if strings.TrimSpace(text) == "" {
				return
			}
			style := ""
			if bold {
				style += ` font-weight="bold"`
			}
			if reverse {
				style += ` fill="` + paper + `"`
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n", x, y, float64(n)*charWidth, style, html.EscapeString(text))
		}
		rest := line
		for rest != "" {
			at := escape.FindStringSubmatchIndex(rest)
			if at == nil {
				draw(rest)
				break
			}
			draw(rest[:at[0]])
			for code := range strings.SplitSeq(rest[at[2]:at[3]], ";") {
				switch code {
				case "", "0":
					bold, reverse = false, false
				case "1":
					bold = true
				case "7":
					reverse = true
				case "27":
					reverse = false
				case "22":
					bold = false
				}
			}
			rest = rest[at[1]:]
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}
