//go:build !linux

package proc

// KeyOf returns a key that no mapping has: other systems have no such /proc.
func KeyOf(_, inode uint64) Key { return Key{Inode: inode} }
