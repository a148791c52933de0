//go:build darwin || freebsd

package sys

// sharedDir is where named segments are: POSIX shared-memory objects are no files on
// these systems. /tmp may be emptied when the system starts, and is sticky.
const sharedDir = "/tmp/"
