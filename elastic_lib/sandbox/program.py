"""The child of the sandbox: the process of the program. Nothing here is trusted.

It defines the program's names, then does what the judge asks, until the judge goes. Objects that are no plain data stay
here; the judge is told their numbers. A function that the tests gave is called where it lives, in the judge: the child
asks for it (`ASKS`), and until it is answered (`ANSWERED`) does what the judge asks meanwhile.
"""

from __future__ import annotations

import operator
import sys
import types

from elastic_lib.sandbox.plain import (
    NotPlainError,
    Reader,
    Writer,
    contents,
    encoded,
    exception,
    lineage,
    outcome,
    receive,
    send,
)

CONSTANT = 100_000  # bytes of a constant that the tests may see
ASKS, ANSWERED = b"?", b"!"
COMPARED = ("eq", "lt", "le", "gt", "ge")
COMPUTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
DONE = {
    "call": lambda what, /, *args, **named: what(*args, **named),
    "get": getattr, "set": setattr, "isinstance": isinstance,
    "getitem": operator.getitem, "setitem": operator.setitem, "delitem": operator.delitem,
    "len": len, "bool": bool, "str": str, "repr": repr, "hash": hash, "iter": lambda what: iter(list(what)),
    **{name: getattr(operator, f"__{name}__") for name in (*COMPARED, *COMPUTED)},
}  # fmt: skip


class Program:
    """The program's names and objects, at one end of the pipes."""

    def __init__(self, requests: int, replies: int):
        self.requests, self.replies = requests, replies
        self.objects, self.numbers = [], {}  # the judge knows them by their places in the list
        self.space = sys.modules["solution"] = types.ModuleType("solution")

    def serve(self) -> None:
        """Defines the names that the first message does, then does what the others ask for."""
        source = receive(self.requests)
        self.reply(lambda: self.define(source), [])
        while True:
            self.do(receive(self.requests))

    def define(self, source: bytes) -> dict:
        exec(compile(source.decode("utf-8", "surrogatepass"), "solution", "exec"), self.space.__dict__)
        return {name: kind for name, value in list(vars(self.space).items()) if (kind := described(value))}

    def do(self, request: bytes) -> None:
        """One thing that the judge asks for: (what, of whom, how)."""
        reader = Reader(request, find=self.find)
        what, args, named = reader.read()
        given = [(thing, list(contents(thing))) for thing in reader.known]
        self.reply(lambda: DONE[what](*args, **named), given)

    def reply(self, work, given: list) -> None:
        try:
            reply = outcome(work, given, refer=self.refer)
        except MemoryError:
            reply = OUT_OF_MEMORY
        send(self.replies, reply)

    def refer(self, value) -> tuple:
        """An object by its number, and what it is: the names of its class and bases, whether it can be called."""
        if isinstance(value, Given):
            return ("tests", value.number)
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return ("program", number, tuple(lineage(type(value))), callable(value))

    def find(self, whose: str, number: int):
        return self.objects[number] if whose == "program" else Given(self, number)


class Given:
    """A function that the tests gave."""

    def __init__(self, program: Program, number: int):
        self.program, self.number = program, number

    def __call__(self, /, *args, **named):
        program = self.program
        send(program.replies, ASKS + encoded((self.number, args, named), refer=program.refer))
        while not (message := receive(program.requests)).startswith(ANSWERED):
            program.do(message)
        kind, what, more = Reader(message[1:], find=program.find).read()
        if kind == "returned":
            return what
        raise exception(what, more, {}) if kind == "raised" else TypeError(f"a function of the tests returned {what}")


OUT_OF_MEMORY = encoded(("raised", ["MemoryError"], ()))  # made while there is some


def described(value):
    """What the tests may know of a top-level name, None where that is nothing."""
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if isinstance(value, type) and issubclass(value, BaseException):
        return ("error", lineage(value))
    if callable(value):
        return ("call", (getattr(value, "__name__", ""), value))
    if hasattr(value, "__next__"):
        return None  # reading it would use it up
    try:
        Writer(most=CONSTANT).write(value)
    except NotPlainError:
        return None
    return ("value", value)
