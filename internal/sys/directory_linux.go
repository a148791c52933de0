package sys

// sharedDir is where Linux keeps POSIX shared-memory objects.
const sharedDir = "/dev/shm/"
