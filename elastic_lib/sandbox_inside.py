"""The part of the sandbox that runs within it, in an interpreter of its own: the judge, and its child, the program.

The judge forks the child before it has read a word, and only then reads the program and the tests. The child defines
the program's names and answers calls over a pair of pipes; the tests run in the judge. What crosses is plain data
(`sandbox_plain`), so the tests compare the judge's own objects, whatever the program thinks of `==`. The child holds no
descriptor of the verdict and cannot look into the judge, which the kernel lets nobody trace (`PR_SET_DUMPABLE`).

What the tests see of the program: its top-level functions and classes (to call, by position or keyword), its exception
classes (to catch), copies of its constants, and the standard modules it imported under their own name. No name of a
builtin is taken from it. Lists, sets and dicts that a call changes are changed in the tests too. An iterator is read
to its end and arrives as an iterator; a Counter, an OrderedDict or a defaultdict arrives as a dict. An object of any
other class, a function among them, ends the run: it could not be compared without asking the program.
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

from elastic_lib.sandbox_plain import (
    READY,
    NotPlainError,
    Reader,
    Writer,
    contents,
    encoded,
    exception,
    lineage,
    receive,
    same,
    send,
)

CONSTANT, WORDS = 100_000, 200  # bytes of a constant that the tests may see, letters of a reason
LIMITS = {"NPROC": 8, "FSIZE": 1_000_000, "NOFILE": 64}  # processes and threads together; bytes of a file
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, CAPABILITY_VERSION = 1, 4, 0x20080522


# ---- the child: the program


def serve(requests: int, replies: int) -> None:
    """Defines the program's names, then answers calls until the judge goes; nothing here is trusted."""
    out_of_memory = encoded(("raised", ["MemoryError"], ()))
    program = sys.modules["solution"] = types.ModuleType("solution")

    def define(source: bytes):
        exec(compile(source.decode("utf-8", "surrogatepass"), "solution", "exec"), program.__dict__)
        return {name: kind for name, value in list(program.__dict__.items()) if (kind := described(value))}

    def call(request: bytes):
        reader = Reader(request)
        name, args, named = reader.read()
        given.extend((thing, list(contents(thing))) for thing in reader.known)
        return program.__dict__[name](*args, **named)

    work = define
    while True:
        request, given = receive(requests), []
        try:
            reply = answer(work, request, given)
        except MemoryError:
            reply = out_of_memory
        send(replies, reply)
        work = call


def answer(work, request: bytes, given: list) -> bytes:
    """What a call returned or raised, as a message to the judge, and which of the things `given` it touched."""
    try:
        value = work(request)
        touched = tuple(i for i, pair in enumerate(given) if not same(*pair))
        return encoded(("returned", value, touched), [thing for thing, _ in given], touched)
    except NotPlainError as refused:
        return encoded(("refused", str(refused), ()))
    except BaseException as error:
        names = lineage(type(error))
        try:
            return encoded(("raised", names, tuple(error.args)))
        except NotPlainError:
            return encoded(("raised", names, (str(error)[:WORDS],)))


def described(value):
    """What the tests may know of a top-level name, None where that is nothing."""
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if isinstance(value, type) and issubclass(value, BaseException):
        return ("error", lineage(value))
    if callable(value):
        return ("call", None)
    if hasattr(value, "__next__"):
        return None  # reading it would use it up
    try:
        Writer(most=CONSTANT).write(value)
    except NotPlainError:
        return None
    return ("value", value)


# ---- the judge


class Judge:
    """Runs the tests against the program behind the pipes, and says the verdict once."""

    def __init__(self, verdict: int, child: int, pipes: tuple[int, int], memory: int):
        self.verdict, self.child, self.pipes, self.memory, self.errors = verdict, child, pipes, memory, {}

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
        """The program's answer to a call, or what it raised; a dead or refusing program ends the run."""
        try:
            send(self.pipes[0], request)
            reader = Reader(receive(self.pipes[1]), given)
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
                space[name] = self.proxy(name)
            elif kind == "module" and value == name and name in sys.stdlib_module_names:
                space[name] = __import__(name)
            elif kind == "error":
                base = type(exception(value[1:], (), self.errors))
                space[name] = self.errors[name] = type(name, (base,), {})
            elif kind == "value":
                space[name] = value
        return space

    def proxy(self, name: str):
        """A function of the tests that calls the program's."""

        def call(*args, **named):
            writer = Writer()
            try:
                writer.write((name, args, named))
            except NotPlainError as error:
                self.end(b"F", f"the tests gave {name} {error}")
            return self.ask(bytes(writer.out), writer.known)

        call.__name__ = call.__qualname__ = name
        return call

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
        serve(asked, answered)
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
