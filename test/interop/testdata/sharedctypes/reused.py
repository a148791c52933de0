"""The parent drops a RawValue that a child still uses, and makes another one."""

import multiprocessing

fork = multiprocessing.get_context("fork")
v = fork.RawValue("i", 1)
go = fork.Event()


def store(v):
    go.wait()
    v.value = 666


child = fork.Process(target=store, args=(v,))
child.start()
del v  # Process.start() has dropped its own reference
price = fork.RawValue("i", 10)
go.set()
child.join()
print(f"666 stored there turns another Value's 10 into {price.value}")
