// Package child asks the system for what tests and tools do with processes that they
// start: it ends them with this one, stops them, and tells how they ended. Package shm
// does not import it.
//
// It is beside package sys, and not in it, because no program that shares memory needs
// it. It imports no package of this module.
package child
