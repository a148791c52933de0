// Package shmtest helps to test programs that use package shm: with segments that end
// with the test, with real other processes, and in every state that a crash can leave.
//
// A package whose tests call [Process], [States] or [Kill] has
//
//	func TestMain(m *testing.M) { shmtest.Main(m) }
//
// # Functions that run in another process
//
// Process, States and Kill run a function in a child process, which is the test's own
// executable again. It begins anew: package-level variables are initialized, TestMain
// runs up to Main, and Main calls the function and ends the process. No test runs in
// it. So what the function uses must come from there:
//
//   - The segment is the function's argument. It is the same memory, attached anew.
//     The function attaches to the values by their names.
//   - Package-level variables, constants, flags, the environment and the working
//     directory are there. Variables have the values that they have before the first
//     test runs.
//   - Variables of the test are not: a function that captures one is refused, and the
//     test fails. Nor is there a *testing.T. What a table test gives to the function
//     goes through the segment, as a value of its own.
//   - A function that fails panics. The panic is what the test reports.
//
// A declared function, a function literal that captures nothing, and an instance of a
// generic function can be used. A method value captures its receiver.
//
// This does not depend on names of tests, so it works in subtests, in parallel tests,
// in table tests, in benchmarks and in fuzz targets, with -race and with -cover. What
// the function covers is not counted.
package shmtest
