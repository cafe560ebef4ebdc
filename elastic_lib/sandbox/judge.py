"""The judge of the sandbox: runs the tests, asks the program's process what they ask of it, and says the verdict once.

What the tests see of the program: its top-level functions and classes, its exception classes (to catch), copies of its
constants, and the standard modules it imported under their own name. No name of a builtin is taken from it. Lists, sets
and dicts that a call changes are changed in the tests too. An iterator is read to its end and arrives as an iterator;
an instance of a subclass of a plain type arrives as that type, a Counter as a dict, say.

A function that the program returns can be called, no more. An object can be asked for its attributes, methods and
items, and compared with another one of the program's, only where the tests themselves name its class, and so believe
it; never with plain data, to which it is not equal and with which it only makes other objects. Any other object ends
the run: it could say what the tests want to hear. So that no function passes for a class, the tests name a class by a
name with a capital letter. A function that the tests give to the program runs in the judge.
"""

from __future__ import annotations

import builtins
import os
import signal
import sys
import types

from elastic_lib.sandbox.plain import READY, WORDS, NotPlainError, Reader, Writer, exception, outcome, receive, send
from elastic_lib.sandbox.program import ANSWERED, ASKS, COMPARED, COMPUTED


class Judge:
    """Runs the tests against the program behind the pipes, and says the verdict once."""

    def __init__(self, verdict: int, child: int, pipes: tuple[int, int], memory: int):
        self.verdict, self.child, self.pipes, self.memory, self.errors = verdict, child, pipes, memory, {}
        self.classes, self.given = set(), []  # the program's that the tests name, and the tests' that it may call
        self.known: dict[int, Function] = {}  # the program's objects by their numbers

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

    def do(self, what: str, /, *args, **named):
        """Has the program do one thing of `program.DONE`."""
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
            return ("program", value._sandbox_number)
        if not callable(value):
            return None
        self.given.append(value)
        return ("tests", len(self.given) - 1)

    def find(self, whose: str, number: int, names: tuple[str, ...] = (), called: bool = False):
        if whose == "tests":
            return self.given[number]
        if number not in self.known:
            believed = not self.classes.isdisjoint(names)
            if not (believed or called):
                self.end(b"F", f"returned {names[0]}, which is not plain data")
            self.known[number] = (Object if believed else Function)(self, number)
        return self.known[number]

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
                number = value[1]._sandbox_number
                space[name] = self.known[number] = Object(self, number)
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

    def __call__(self, /, *args, **named):
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
    """An operator that asks the program if both sides are its own."""
    ask = _asked(name)
    return lambda self, other: ask(self, other) if isinstance(other, Function) else NotImplemented


def _computed(name: str, reflected: bool = False):
    """An operator that asks the program if both sides are its own, or what comes out is."""

    def operator(self, other):
        found = self._sandbox_judge.do(name, *((other, self) if reflected else (self, other)))
        return found if isinstance(other, Function) or isinstance(found, Function) else NotImplemented

    return operator


for _name in ("getitem", "setitem", "delitem", "len", "bool", "str", "repr", "hash", "iter"):
    setattr(Object, f"__{_name}__", _asked(_name))
for _name in COMPARED:
    setattr(Object, f"__{_name}__", _compared(_name))
for _name in COMPUTED:
    setattr(Object, f"__{_name}__", _computed(_name))
    setattr(Object, f"__r{_name}__", _computed(_name, reflected=True))


def mentioned(code: types.CodeType) -> set[str]:
    """Every global name of a piece of code."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(mentioned, inner))


def clean(text: str) -> str:
    """One short line without what a terminal would obey."""
    line = "".join(c if c.isprintable() else "�" for c in " ".join(text[: 10 * WORDS].split()))
    return line if len(line) <= WORDS else line[: WORDS - 1] + "…"
