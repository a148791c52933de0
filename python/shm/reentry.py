"""Locks of this process that stay right when a signal handler comes between any two steps.

CPython runs a signal's handler in the main thread, between two instructions: in 3.9
nearly between any two, later after calls, at the start of functions and where loops
go back. The handler may raise, as that of Ctrl-C does, or call the very function
that it has interrupted. A finalizer that the garbage collector calls does the same
in any thread. So between the call of `acquire` and the next statement, whatever
that is, the lock may be left behind, or asked for again by the same thread.

Three rules follow. They hold in this module and in mutex.py.

1. What a C function does is not interrupted halfway. What is true of a lock is
   asked of the C lock itself (`_is_owned`), and never kept in a variable beside it.
2. To release is to go back to a known state, and can be done twice. So the clean-up
   of an exception does not need to know how far the interrupted steps came.
3. A thread that has a lock already, without having asked for it, has either
   interrupted itself or finds what an exception left over. Its stack tells which:
   the frames below a handler are those that it has interrupted.
"""

import sys
from _thread import RLock


def interrupted(codes, skip, owner):
    """Report whether this thread has interrupted itself in a function with one of the code objects.

    skip is the number of frames that belong to the present call, this one included.
    owner(frame) tells whether a frame with such a code object is about the same lock.
    """
    frame = sys._getframe(skip)
    while frame is not None:
        if frame.f_code in codes and owner(frame):
            return True
        frame = frame.f_back
    return False


class Exclusion:
    """A lock between the threads of this process. No exception leaves it locked."""

    __slots__ = ("_acquire", "_release", "_owned")

    def __init__(self):
        lock = RLock()  # it knows its owner; it is never acquired twice
        self._acquire, self._release, self._owned = lock.acquire, lock.release, lock._is_owned

    def inside(self, skip=2):
        """Report whether this thread is inside run, so that the caller is a handler that has interrupted it."""
        return self._owned() and interrupted(_RUN, skip, lambda frame: frame.f_locals["self"] is self)

    def run(self, function, *args):
        """Call the function while no other thread is inside run. A thread that is inside may call it again."""
        again = self.inside(3)
        # CPython 3.9 may call a handler after the end of a try block and before its
        # finally block. The outer block is there for that.
        try:
            try:
                if not self._owned():
                    self._acquire()
                return function(*args)
            finally:
                if not again and self._owned():
                    self._release()
        finally:
            if not again and self._owned():
                self._release()

    def hold(self):
        """Keep all other threads out until let_go, for the time of a fork."""
        self._acquire()

    def let_go(self):
        self._release()


_RUN = {Exclusion.run.__code__}
