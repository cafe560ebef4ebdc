"""The part of the sandbox that runs within it, in an interpreter of its own: the judge, and the start of its child.

The judge forks the child before it has read a word, and only then reads the program and the tests. The child defines
the program's names and answers calls over a pair of pipes (`sandbox_program`); the tests run in the judge. What crosses
is plain data (`sandbox_plain`), so the tests compare the judge's own objects, whatever the program thinks of `==`. The
child holds no descriptor of the verdict and cannot look into the judge, which the kernel lets nobody trace
(`PR_SET_DUMPABLE`).

What the tests see of the program: its top-level functions and classes, its exception classes (to catch), copies of its
constants, and the standard modules it imported under their own name. No name of a builtin is taken from it. Lists, sets
and dicts that a call changes are changed in the tests too. An iterator is read to its end and arrives as an iterator;
an instance of a subclass of a plain type arrives as that type, a Counter as a dict, say.

A function that the program returns can be called, no more. An object can be asked for its attributes, methods and
items, and compared with another one of the program's, only where the tests themselves name its class, and so believe
it; never with plain data, to which it is not equal. Any other object ends the run: it could say what the tests want to
hear. So that no function passes for a class, the tests name a class by a name with a capital letter. A function that
the tests give to the program runs in the judge.
"""

from __future__ import annotations

import builtins
import ctypes
import math
import os
import resource
import signal
import struct
import sys
import types

from elastic_lib.sandbox_plain import READY, WORDS, NotPlainError, Reader, Writer, exception, outcome, receive, send
from elastic_lib.sandbox_program import ANSWERED, ASKS, COMPARED, Program

LIMITS = {"NPROC": 8, "FSIZE": 1_000_000, "NOFILE": 64}  # processes and threads together; bytes of a file
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, CAPABILITY_VERSION = 1, 4, 0x20080522


# ---- the judge


class Judge:
    """Runs the tests against the program behind the pipes, and says the verdict once."""

    def __init__(self, verdict: int, child: int, pipes: tuple[int, int], memory: int):
        self.verdict, self.child, self.pipes, self.memory, self.errors = verdict, child, pipes, memory, {}
        self.classes, self.given = set(), []  # the program's that the tests name, and the tests' that it may call

    def end(self, kind: bytes, reason: str) -> None:
        """Says the verdict and ends everything: past any `except` of the tests."""
        signal.setitimer(signal.ITIMER_REAL, 0)  # one verdict is enough
        os.write(self.verdict, kind + clean(reason).encode("utf-8", "replace"))
        os._exit(0)

    def hear(self, solution: bytes, tests: str, timeout: float) -> None:
        """Lets the program define its names and the tests use them."""
        os.write(self.verdict, READY)
        try:
            code = compile(tests, "tests", "exec")
        except Exception as error:
            self.end(b"T", str(error))
        signal.signal(signal.SIGALRM, lambda *_: self.end(b"F", f"timed out after {timeout} s"))
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            exec(code, self.visible(self.ask(solution, []), mentioned(code)))
        except BaseException as error:
            self.end(b"F", self.said(error, tests))
        self.end(b"P", "passed")

    def ask(self, request: bytes, given: list):
        """The program's answer to a request, or what it raised; a dead or refusing program ends the run."""
        try:
            send(self.pipes[0], request)
            while (reply := receive(self.pipes[1])).startswith(ASKS):
                self.answer(reply[1:])
            reader = Reader(reply, given, self.find)
            kind, what, more = reader.read()
            if kind == "returned":
                for i in more:
                    reader.take(1)
                    reader.fill(given[i])
                return what
            error = exception(what, more, self.errors) if kind == "raised" else None
        except (EOFError, BrokenPipeError):
            self.end(b"F", self.gone())
        except Exception:
            self.end(b"F", "answered what is not plain data")
        if error is None:
            self.end(b"F", f"returned {what}")
        raise error

    def do(self, what: str, *args, **named):
        """Has the program do one thing of `sandbox_program.DONE`."""
        writer = Writer(refer=self.refer)
        try:
            writer.write((what, args, named))
        except NotPlainError as error:
            self.end(b"F", f"the tests gave the program {error}")
        return self.ask(bytes(writer.out), writer.known)

    def answer(self, asked: bytes) -> None:
        """Calls a function of the tests for the program."""
        number, args, named = Reader(asked, find=self.find).read()
        send(self.pipes[0], ANSWERED + outcome(lambda: self.given[number](*args, **named), [], refer=self.refer))

    def refer(self, value) -> tuple | None:
        if isinstance(value, Function):
            return ("program", value._sandbox_number, [], True)
        if not callable(value):
            return None
        self.given.append(value)
        return ("tests", len(self.given) - 1, [], True)

    def find(self, whose: str, number: int, names: list[str], called: bool):
        if whose == "tests":
            return self.given[number]
        if not self.classes.isdisjoint(names):
            return Object(self, number)
        if not called:
            self.end(b"F", f"returned {names[0]}, which is not plain data")
        return Function(self, number)

    def gone(self) -> str:
        """How the program ended."""
        status = os.waitpid(self.child, 0)[1]
        if not os.WIFSIGNALED(status):
            return "exited before the tests ended"
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name} before the tests ended"

    def visible(self, names: dict, wanted: set[str]) -> dict:
        """The names of the program that the tests mention, as the judge's own objects."""
        space = {"__name__": "tests", "__builtins__": builtins}
        for name, (kind, value) in names.items():
            if name not in wanted or hasattr(builtins, name) or name.startswith("__"):
                continue
            if kind == "call":
                space[name] = Object(self, value[1]._sandbox_number)
                if name[0].isupper():
                    self.classes.add(value[0])
            elif kind == "module" and value == name and name in sys.stdlib_module_names:
                space[name] = __import__(name)
            elif kind == "error":
                base = type(exception(value[1:], (), self.errors))
                space[name] = self.errors[name] = type(name, (base,), {})
            elif kind == "value":
                space[name] = value
        return space

    def said(self, error: BaseException, tests: str) -> str:
        """What a test's exception means."""
        if isinstance(error, SystemExit):
            return "exited before the tests ended"
        if isinstance(error, MemoryError):
            return f"memory limit of {self.memory} MB"
        try:
            words = str(error)
        except Exception:
            words = ""
        if not isinstance(error, AssertionError):
            return f"raised {type(error).__name__}: {words}"
        at, line = error.__traceback__, 0
        while at:
            line, at = at.tb_lineno if at.tb_frame.f_code.co_filename == "tests" else line, at.tb_next
        return f"assertion failed: {words or [*tests.splitlines(), ''][line - 1]}"


class Function:
    """A function of the program."""

    def __init__(self, judge: Judge, number: int):
        vars(self).update(_sandbox_judge=judge, _sandbox_number=number)

    def __call__(self, *args, **named):
        return self._sandbox_judge.do("call", self, *args, **named)


class Object(Function):
    """An object of the program's that the tests believe."""

    def __getattr__(self, name: str):
        return self._sandbox_judge.do("get", self, name)

    def __setattr__(self, name: str, value) -> None:
        self._sandbox_judge.do("set", self, name, value)

    def __instancecheck__(self, value) -> bool:
        return self._sandbox_judge.do("isinstance", value, self)


def _asked(name: str):
    """A method that asks the program."""
    return lambda self, *args: self._sandbox_judge.do(name, self, *args)


def _compared(name: str):
    """An operator that asks the program, if both sides are its own."""
    ask = _asked(name)
    return lambda self, other: ask(self, other) if isinstance(other, Function) else NotImplemented


for _name in ("getitem", "setitem", "delitem", "len", "bool", "str", "repr", "hash", "iter"):
    setattr(Object, f"__{_name}__", _asked(_name))
for _name in COMPARED:
    setattr(Object, f"__{_name}__", _compared(_name))


def mentioned(code: types.CodeType) -> set[str]:
    """Every global name of a piece of code."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(mentioned, inner))


def clean(text: str) -> str:
    """One short line without what a terminal would obey."""
    line = "".join(c if c.isprintable() else "�" for c in " ".join(text[: 10 * WORDS].split()))
    return line if len(line) <= WORDS else line[: WORDS - 1] + "…"


# ---- the start


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
