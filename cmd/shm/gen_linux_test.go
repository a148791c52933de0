package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGen compiles and runs what gen writes, against the segment of which it is.
func TestGen(t *testing.T) {
	seg := fixture(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source := func(language, file string) string {
		r := shmTool(t, "gen", language, seg)
		if r.status != 0 {
			t.Fatalf("gen %s: %+v", language, r)
		}
		golden(t, "gen-"+language, steady(t, strings.ReplaceAll(r.stdout, "\t", "    "), seg))
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(r.stdout), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("Go", func(t *testing.T) {
		file := source("go", "board.go")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// As a program: it is put into a directory of this module by an overlay.
		program := strings.Replace(string(text), "package board", "package main", 1) + `
func main() {
	seg, err := shm.Open(` + "`" + seg + "`" + `, &shm.Options{MustExist: true})
	var b Board
	if err == nil {
		err = shm.Bind(seg, &b)
	}
	if err != nil {
		panic(err)
	}
	println(b.Requests.Load(), b.Config.Load().Limit, b.Samples.Load(1), b.Uptime.Load().String(), b.Version.Load())
}
`
		main := filepath.Join(dir, "main.go")
		overlay := filepath.Join(dir, "overlay.json")
		if err := os.WriteFile(main, []byte(program), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(overlay, []byte(`{"Replace": {"`+root+`/cmd/generated/main.go": "`+main+`"}}`), 0o666); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "run", "-overlay", overlay, "./cmd/generated")
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "41 8 -7 1m30s 2.1\n" {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("C", func(t *testing.T) {
		gcc, err := exec.LookPath("gcc")
		if err != nil {
			t.Skip(err)
		}
		header := source("c", "board.h")
		program := filepath.Join(dir, "program.c")
		text := `#include "` + root + `/c/shm.h"
#include "` + header + `"
int main(void)
{
	shm_segment *seg;
	shm_value v;
	struct board_config config;
	int err = shm_attach(&seg, "` + seg + `", NULL);
	if (err == 0) err = shm_new_struct(seg, BOARD_CONFIG, BOARD_CONFIG_FORMAT, sizeof config, NULL, &v);
	if (err == 0) err = shm_read(&v, &config, sizeof config);
	printf("%d %d %s\n", err, config.Limit, config.name);
	return err != 0;
}
`
		if err := os.WriteFile(program, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		binary := filepath.Join(dir, "program")
		if out, err := exec.Command(gcc, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-pthread", "-o", binary, program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := exec.Command(binary).CombinedOutput(); err != nil || string(out) != "0 8 a\"\n" {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("Python", func(t *testing.T) {
		if !hasPython() {
			t.Skip("no python3")
		}
		source("python", "board.py")
		cmd := exec.Command("python3", "-c", `import shm, sys, board
with shm.open(sys.argv[1]) as seg:
    b = board.Values(seg)
    print(b.requests.load(), b.config.load().Limit, b.samples[1], b.version.load())`, seg)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+root+"/python:"+dir, "PYTHONDONTWRITEBYTECODE=1")
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "41 8 -7 b'2.1'\n" {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
