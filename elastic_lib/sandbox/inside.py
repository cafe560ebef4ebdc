"""What runs within the sandbox, in an interpreter of its own: the judge (`judge`), and its child, the program.

The judge forks the child before it has read a word, and only then reads the program and the tests. The child defines
the program's names and answers calls over a pair of pipes (`program`); the tests run in the judge. What crosses
is plain data (`plain`), so the tests compare the judge's own objects, whatever the program thinks of `==`. The
child holds no descriptor of the verdict and cannot look into the judge, which the kernel lets nobody trace
(`PR_SET_DUMPABLE`).
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import struct
import sys

from elastic_lib.sandbox.judge import Judge
from elastic_lib.sandbox.plain import receive
from elastic_lib.sandbox.program import Program

LIMITS = {"NPROC": 8, "FSIZE": 1_000_000, "NOFILE": 64}  # processes and threads together; bytes of a file
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, CAPABILITY_VERSION = 1, 4, 0x20080522


def limit(name: str, most: int) -> None:
    """Lowers a limit for good."""
    what = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def only(*kept: int) -> None:
    """Closes every other descriptor."""
    last = -1
    for descriptor in (*sorted(kept), 65536):
        os.closerange(last + 1, descriptor)
        last = descriptor


def mute() -> None:
    """Reads and writes nothing on stdin, stdout and stderr."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)


def system(call: str, *args) -> None:
    """A call of Linux that Python does not have."""
    if sys.platform == "linux" and getattr(ctypes.CDLL(None, use_errno=True), call)(*args):
        raise OSError(ctypes.get_errno(), call)


def fork(uid: int, limits: dict[str, int]) -> tuple[int, tuple[int, int]]:
    """Starts the program's process, which waits to be told; its id, and the pipes to it and from it."""
    asked, requests = os.pipe()
    replies, answered = os.pipe()
    child = os.fork()
    if child:
        os.close(asked)
        os.close(answered)
        return child, (requests, replies)
    try:
        if uid:  # leaves root for good
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        system("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        only(asked, answered)
        mute()
        for name, most in limits.items():
            limit(name, most)
        Program(asked, answered).serve()
    finally:
        os._exit(1)


def main(uid: int, timeout: float, memory: int) -> None:
    """Forks the child, then reads what to judge from stdin: nothing of it was there for the child to inherit."""
    if uid:
        os.chroot("/box")  # where nobody may make a user namespace, and so mount what fills the memory
        os.chdir("/tmp")
    system("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    system("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getpgrp() != os.getpid():
        os.setsid()  # not a moment earlier: until here whoever stops the caller's group stops this process too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit("CORE", 0)
    verdict = os.dup(1)
    child, pipes = fork(uid, LIMITS | {"AS": memory * 2**20, "CPU": math.ceil(timeout) + 1})
    if uid:
        # A judge that gave up its user id as well could not be killed by bubblewrap, which gave up its rights.
        system("capset", struct.pack("Ii", CAPABILITY_VERSION, 0), bytes(24))
    solution, tests = receive(0), receive(0)
    mute()  # what the tests print is no verdict
    limit("AS", (memory + 256) * 2**20)
    Judge(verdict, child, pipes, memory).hear(solution, tests.decode("utf-8", "surrogatepass"), timeout)
