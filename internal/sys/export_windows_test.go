package sys

// BesideName returns a name beside that of a removed file.
func BesideName(path string) string { return besideName(path, oldSuffix) }

// RemoveAbandoned removes what dead creators of path, and Remove, have left.
func RemoveAbandoned(path string) { removeAbandoned(path) }

// FilesWithLocks returns how many files are in the table of locks.
func FilesWithLocks() int {
	held.Lock()
	defer held.Unlock()
	return len(held.by)
}

// Explained says what an error means, and what to do.
func Explained(err error) error { return explained(err) }
