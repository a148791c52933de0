// Package systest has the tests that each set of files of package sys must pass. Each is
// one promise of that package's comment, kept between real processes, of which some are
// killed. A new system is done when they pass:
//
//	go test ./internal/sys/systest
//	go test -tags shmportable ./internal/sys/systest
//
// The tests know neither the format of a segment nor a system. What a system cannot do is a
// promise that its functions take back by what they return; such a test is skipped, and
// says why.
//
// The package imports no package of this module; its tests import sys and shmtest.
package systest
