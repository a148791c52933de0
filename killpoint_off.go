//go:build !killpoints

package shm

// killPoints says whether a test may stop this process at a numbered store; it
// may not, in any program but the tests, and nothing of it is compiled in.
const killPoints = false

func killPoint(int) {}
