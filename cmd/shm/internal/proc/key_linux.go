package proc

import "golang.org/x/sys/unix"

// KeyOf returns the key of a file by its device and inode, as stat(2) has them.
func KeyOf(dev, inode uint64) Key {
	return Key{uint64(unix.Major(dev)), uint64(unix.Minor(dev)), inode}
}
