package sys

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// isPath reports whether a name says where its file is: C:\dir\x, dir\x, dir/x and C:x do.
func isPath(name string) bool {
	return strings.ContainsAny(name, `/\`) || filepath.VolumeName(name) != ""
}

// checkName refuses what Windows would take for something else than a file of that name:
// a device, a stream within a file, a name without the dot or the space at its end.
func checkName(name string) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", fs.ErrInvalid, fmt.Sprintf(format, args...))
	}
	if slashes := strings.ReplaceAll(name, "/", `\`); strings.HasPrefix(slashes, `\\.\`) {
		return refuse(`a name that begins with \\.\ is that of a device: leave that out`)
	}
	parts := strings.FieldsFunc(name[len(filepath.VolumeName(name)):], func(r rune) bool { return r == '/' || r == '\\' })
	if len(parts) == 0 || strings.ContainsAny(name[len(name)-1:], `/\`) {
		return refuse("the name is that of a directory")
	}
	last := parts[len(parts)-1]
	if last == "." || last == ".." {
		return refuse("the name is that of a directory")
	}
	if lower := strings.ToLower(last); strings.HasSuffix(lower, oldSuffix) || strings.HasSuffix(lower, newSuffix) {
		return refuse("segments that were removed, and those that are not complete, have names that end in %s or %s: choose another name", oldSuffix, newSuffix)
	}
	for i, p := range parts {
		if p == "." || p == ".." && i == 0 {
			continue
		}
		if p == ".." {
			return refuse(`the name contains \..\`)
		}
		if at := strings.IndexFunc(p, func(r rune) bool { return r < ' ' || strings.ContainsRune(`<>:"|?*`, r) }); at >= 0 {
			return refuse("the name contains %q, which no file of Windows can have", p[at:at+1])
		}
		if p[len(p)-1] == '.' || p[len(p)-1] == ' ' {
			return refuse("%q ends with a dot or a space, which Windows takes away", p)
		}
		if reserved(p) {
			return refuse("Windows takes %q for a device: choose another name", p)
		}
		if len(utf16.Encode([]rune(p))) > 255 {
			return tooLong(name)
		}
	}
	if len(utf16.Encode([]rune(name))) > 32000 {
		return tooLong(name)
	}
	return nil
}

// reserved reports whether Windows takes a name for a device, whatever the directory and
// whatever follows the first dot.
func reserved(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	base = strings.TrimRight(base, " ")
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	runes := []rune(base)
	return len(runes) == 4 && (base[:3] == "COM" || base[:3] == "LPT") && strings.ContainsRune("0123456789¹²³", runes[3])
}
