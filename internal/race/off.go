//go:build !race

package race

// Enabled reports whether this build has the race detector.
const Enabled = false

// Cells has the heap cell of each place in a file. It is empty in this build.
type Cells struct{}

// Token returns an empty token.
func (*Cells) Token(int64) (t Token) { return }

// Shadow returns an empty shadow.
func (*Cells) Shadow(int64, int) (s Shadow) { return }

// Token reports the order that a lock or an atomic creates.
type Token struct{}

// Acquire does nothing in this build.
func (Token) Acquire() {}

// Release does nothing in this build.
func (Token) Release() {}

// Shadow reports accesses without synchronisation.
type Shadow struct{}

// From returns an empty shadow.
func (Shadow) From(int) (s Shadow) { return }

// Read does nothing in this build.
func (Shadow) Read(int, int) {}

// Write does nothing in this build.
func (Shadow) Write(int, int) {}
