"""Plain data as bytes, and how they cross a pipe: the sandbox's own encoding, which only ever makes plain data."""

from __future__ import annotations

import builtins
import collections
import operator
import os
import struct

BYTES, DEPTH, WORDS = 4_000_000, 100, 200  # of one message, of what is nested in it, letters of a reason
READY = b"\0ready\n"  # the judge's first word: whatever was said before it, the sandbox did not start well
PLAIN_DICTS = (dict, collections.Counter, collections.OrderedDict, collections.defaultdict)
AS_THEIR_BASE = {
    int: int.__int__, float: float.__float__, str: str.__str__, bytes: bytes, tuple: tuple, frozenset: frozenset,
    list: list, set: set, dict: dict,
}  # fmt: skip


class NotPlainError(Exception):
    """Something cannot cross between the program and its tests."""


class Writer:
    """Writes plain data; a list, set or dict that was written or is in `known` is written as its number.

    An instance of a subclass is written as what it is a subclass of, a named tuple with its names. What is not plain at
    all is written as what `refer` gives for it, to be found again by the other side, and refused where that is None.
    """

    def __init__(self, known=(), most: int = BYTES, refer=lambda value: None):
        self.out, self.known, self.most = bytearray(), list(known), most  # known: so that no id is given twice
        self.refer = refer
        self.numbers = {id(thing): i for i, thing in enumerate(self.known)}

    def write(self, value, depth: int = 0) -> None:
        kind = type(value)
        if depth > DEPTH:
            raise NotPlainError(f"more than {DEPTH} levels of nesting")
        self.room(0)
        if value is None or kind is bool:
            self.out += b"N" if value is None else b"T" if value else b"F"
        elif kind is int:
            self.block(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
        elif kind is float:
            self.block(b"f", struct.pack("<d", value))
        elif kind is complex:
            self.block(b"c", struct.pack("<dd", value.real, value.imag))
        elif kind is str:
            self.block(b"s", value.encode("utf-8", "surrogatepass"))
        elif kind is bytes:
            self.block(b"b", value)
        elif kind is range:
            self.many(b"r", (value.start, value.stop, value.step), depth)
        elif kind in (tuple, frozenset):
            self.many(b"(" if kind is tuple else b"<", value, depth)
        elif kind in (list, set, *PLAIN_DICTS):
            self.shared(value, b"[" if kind is list else b"{" if kind is set else b":", depth)
        elif hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools"):
            self.many(b">", value, depth)
        elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
            self.out += b"n"
            self.write((tuple(kind._fields), tuple(value)), depth)
        elif base := next((base for base in kind.__mro__ if base in AS_THEIR_BASE), None):
            self.write(AS_THEIR_BASE[base](value), depth)
        elif (reference := self.refer(value)) is not None:
            self.out += b"o"
            self.write(reference, depth)
        else:
            raise NotPlainError(f"{kind.__name__}, which is not plain data")

    def room(self, length: int) -> None:
        if len(self.out) + length > self.most:
            raise NotPlainError(f"more than {BYTES // 10**6} MB")

    def block(self, tag: bytes, data: bytes) -> None:
        self.room(len(data))
        self.out += tag + struct.pack("<I", len(data)) + data

    def shared(self, value, tag: bytes, depth: int) -> None:
        if id(value) in self.numbers:
            self.out += b"&" + struct.pack("<I", self.numbers[id(value)])
        else:
            self.numbers[id(value)] = len(self.known)
            self.known.append(value)
            self.many(tag, contents(value), depth)

    def many(self, tag: bytes, items, depth: int = 0) -> None:
        self.out += tag
        start, count = len(self.out), 0
        self.out += bytes(4)
        for item in items:
            self.write(item, depth + 1)
            count += 1
        struct.pack_into("<I", self.out, start, count)


class Reader:
    """Reads what a Writer wrote, and keeps its lists, sets and dicts in `known`, in the same order.

    `find` takes what the other side's `refer` gave.
    """

    def __init__(self, data: bytes, known=(), find=None):
        self.data, self.at, self.known, self.find = data, 0, list(known), find

    def take(self, length: int) -> bytes:
        piece = self.data[self.at : self.at + length]
        if len(piece) < length:
            raise ValueError("cut short")
        self.at += length
        return piece

    def count(self) -> int:
        return struct.unpack("<I", self.take(4))[0]

    def read(self):
        tag = self.take(1)
        if tag in b"NTF":
            return {b"N": None, b"T": True, b"F": False}[tag]
        if tag in b"ifcsb":
            return scalar(tag, self.take(self.count()))
        if tag == b"&":
            return self.known[self.count()]
        if tag == b"o":
            return self.find(*self.read())
        if tag == b"n":
            fields, values = self.read()
            if any(map(callable, values)):
                raise ValueError("a name that answers calls could be any method's")
            return collections.namedtuple("Named", fields)(*values)
        if tag in b"[{:":
            fresh = {b"[": list, b"{": set, b":": dict}[tag]()
            self.known.append(fresh)
            return self.fill(fresh)
        items = [self.read() for _ in range(self.count())]
        if tag == b"r":
            return range(*items)
        return {b"(": tuple, b"<": frozenset, b">": iter}[tag](items)

    def fill(self, target):
        """Replaces what a list, set or dict holds."""
        items = [self.read() for _ in range(self.count())]
        target.clear()
        if isinstance(target, dict):
            dict.update(target, zip(items[::2], items[1::2], strict=True))  # a Counter's own would count
        elif isinstance(target, list):
            target.extend(items)
        else:
            target.update(items)
        return target


def contents(value):
    """The items of a list or set, the keys and values of a dict in turn."""
    return (part for pair in dict.items(value) for part in pair) if isinstance(value, dict) else value


def same(thing, before: list) -> bool:
    """Whether a list, set or dict holds the very objects that it held before."""
    now = list(contents(thing))
    return len(now) == len(before) and all(map(operator.is_, now, before))


def scalar(tag: bytes, data: bytes):
    """A number, a text or bytes."""
    if tag == b"i":
        return int.from_bytes(data, "little", signed=True)
    if tag == b"s":
        return data.decode("utf-8", "surrogatepass")
    if tag == b"f":
        return struct.unpack("<d", data)[0]
    return data if tag == b"b" else complex(*struct.unpack("<dd", data))


def encoded(message, known=(), touched=(), **how) -> bytes:
    """A message, then what the touched ones of the things in `known` hold by now."""
    writer = Writer(known, **how)
    writer.write(message)
    for i in touched:
        writer.many(b"=", contents(known[i]))
    return bytes(writer.out)


# ---- what became of a call


def outcome(work, given: list, **how) -> bytes:
    """What a call returned or raised, and which of the lists, sets and dicts `given` to it, with copies, it touched."""
    try:
        value = work()
        touched = tuple(i for i, pair in enumerate(given) if not same(*pair))
        return encoded(("returned", value, touched), [thing for thing, _ in given], touched, **how)
    except NotPlainError as refused:
        return encoded(("refused", str(refused), ()))
    except BaseException as error:
        names = lineage(type(error))
        try:
            return encoded(("raised", names, tuple(error.args)))
        except NotPlainError:
            return encoded(("raised", names, (str(error)[:WORDS],)))


def lineage(kind: type) -> list[str]:
    """The names of a class and its bases, nearest first: all of it that crosses."""
    return [base.__name__ for base in kind.__mro__]


def exception(names: list[str], args: tuple, own: dict[str, type]) -> BaseException:
    """The exception of the first name that is in `own` or a builtin's, under the very first name."""
    for name in names:
        kind = own.get(name) or getattr(builtins, name, None)
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            continue
        if issubclass(kind, StopIteration | StopAsyncIteration | GeneratorExit):
            break  # it would end a loop of the tests early, and so pass
        try:
            return (kind if name == names[0] else type(names[0], (kind,), {}))(*args)
        except Exception:
            continue  # its arguments do not make it, as with an ExceptionGroup
    return RuntimeError(f"raised {names[0]}")


# ---- pipes


def framed(data: bytes) -> bytes:
    """A message with its length before it."""
    return struct.pack("<I", len(data)) + data


def send(pipe: int, data: bytes) -> None:
    """Writes one message."""
    data = memoryview(framed(data))
    while data:
        data = data[os.write(pipe, data) :]


def receive(pipe: int) -> bytes:
    """Reads one message; EOFError where the other side is gone."""
    (length,) = struct.unpack("<I", exactly(pipe, 4))
    if length > 2 * BYTES:
        raise ValueError("too long")
    return exactly(pipe, length)


def exactly(pipe: int, length: int) -> bytes:
    """`length` bytes of a pipe."""
    data = bytearray()
    while len(data) < length:
        piece = os.read(pipe, length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
