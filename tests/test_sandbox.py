"""Programs that nobody trusts: right ones pass, wrong ones fail, hostile ones neither forge a verdict nor get out."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from elastic_lib import sandbox
from elastic_lib.sandbox import jail, plain

REPOSITORY = Path(__file__).parents[1]
BARE = ["--ro-bind", "/", "/", sys.executable, "-c", "pass"]
WAYS = [
    ["bwrap", "--unshare-all", *BARE]
]  # root goes in without a user namespace, for which containers may lack rights
WAYS += [["bwrap", "--unshare-pid", "--unshare-net", "--cap-add", "CAP_SYS_CHROOT", *BARE]] * (os.geteuid() == 0)
RUNS = shutil.which("bwrap") is not None and all(not subprocess.run(w, capture_output=True).returncode for w in WAYS)
boxed = pytest.mark.skipif(not RUNS, reason="bubblewrap does not run here, whatever is asked of it")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be started by root")
OURS = 513 + os.getpid() % 997  # MB: tells the sandboxes of this test process from those of the one beside it
DATA = Path(os.environ.get("ELASTIC_DATA", "")) / "humaneval" / "HumanEval.jsonl.gz"


def alive(memory_mb: int) -> list[Path]:
    """The processes of sandboxes that were started with this limit."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [process] * (words[-2:-1] == [str(memory_mb).encode()] and b"-S" in words)
    return found


def wait_until(true, seconds: float = 30.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(params=["as it comes", "in a user namespace"])
def entrance(request, monkeypatch):
    """Both ways in, for root; the same one twice for anybody else."""
    if request.param == "in a user namespace":
        monkeypatch.setattr(jail, "_passing_user", lambda: 0)


# ---- honest programs


@boxed
def test_nothing_is_missing_where_bubblewrap_runs():
    assert sandbox.missing() is None


@boxed
@pytest.mark.parametrize(
    ("solution", "tests"),
    [
        ("def f(x, by=2): return by * x", "assert f(3) == 6 and f(3, by=5) == 15 and f(x='a') == 'aa'"),
        ("def f(x): return x", "for x in (None, True, -(10**400), -0.0, 2j, 'é\\ud800🐍', b'\\0'): assert f(x) == x"),
        (
            "def f(x): return x",
            "x = f(float('nan')); assert x != x and f(float('-inf')) < 0 and str(f(-0.0)) == '-0.0'",
        ),
        ("def f(x): return x", "x = [(1, {2: {3}}), frozenset([4]), range(9)]; assert f(x) == x and f(x) is x"),
        ("def f(x): return x", "assert type(f(1)) is int and type(f(True)) is bool and f(None) is None"),
        ("def f(x): x.sort(); x.append(x)", "x = [3, 1]; f(x); assert x[:2] == [1, 3] and x[2] is x"),
        ("def f(a, b): a['n'] = b; b.add(1)", "a, b = {}, set(); f(a, b); assert a['n'] is b and b == {1}"),
        ("def f(x): return len(x)", "x = {1: 2, 3: 4}\nfor key in x: assert f(x) == 2"),
        ("def f(n):\n for i in range(n): yield i * i", "x = f(3); assert x != [0, 1, 4] and list(x) == [0, 1, 4]"),
        ("def f(x): return map(abs, x)", "assert next(f([-1])) == 1"),
        ("from collections import *\ndef f(x): return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
        (
            "def f(): raise KeyError('a', 1)",
            "try: f()\nexcept KeyError as e: assert e.args == ('a', 1)\nelse: assert 0",
        ),
        ("def f(): int('x')", "try: f()\nexcept ValueError as e: assert 'invalid literal' in str(e)\nelse: assert 0"),
        ("def f(): return b'\\xff'.decode()", "try: f()\nexcept UnicodeDecodeError: pass\nelse: assert 0"),
        (
            "class A(ValueError): pass\nclass B(A): pass\ndef f(): raise B(3)",
            "for kind in (B, A, ValueError):\n try: f()\n except kind as e: assert e.args == (3,)\n else: assert 0",
        ),
        ("import math\nSIZES = [1, 2]\ndef f(): return SIZES", "assert math.floor(2.5) == 2 and SIZES == f()"),
        ("def f(n): return n and 1 + f(n - 1)", "assert f(900) == 900"),
        ("def größe(s): return s[::-1]", "assert größe('añ🐍') == '🐍ña'"),
        ("from dataclasses import *\n@dataclass\nclass P:\n x: 'int'\ndef f(): return P(3).x", "assert f() == 3"),
        ("def f(): return 1\nif __name__ == '__main__': input()", "assert f() == 1"),
        ("def g(x): return x\ndef f(x): return g(x)", "def check(f): assert f(1) == g(1)\ncheck(f)"),
        ("def f(x): print(x)", "print('passed')\nassert f(1) is None"),
        ("def f(x): return tuple(x)", "assert f(list(range(100_000))) == tuple(range(100_000))"),
        (
            "from collections import *\nP = namedtuple('P', 'x y')\ndef f(p=P(1, 2)): return p._replace(y=3)",
            "assert f() == (1, 3) and f().y == 3 and f(f()).x == 1",
        ),
        ("from enum import *\nclass C(IntEnum): A = 7\ndef f(): return [C.A]", "assert f() == [7]"),
    ],
)
def test_right_programs_pass(solution, tests):
    assert sandbox.run(solution, tests)[:2] == (True, "passed")


@boxed
@pytest.mark.parametrize(
    ("solution", "tests", "reason"),
    [
        ("def f(x): return x", "x = 3\nassert f(x) == 4  # four", "assertion failed: assert f(x) == 4 # four"),
        ("def f(x): return x", "assert f(3) == 4, 'no\\x1b[2J\\n' + 'x' * 10**6", "assertion failed: no�[2J xxx"),
        ("def f(x): return 1 / 0", "f(3)", "raised ZeroDivisionError: division by zero"),
        ("class Odd(Exception): pass\ndef f(): raise Odd('o' * 10**7)", "f()", "raised Odd: ooo"),
        ("def f(x: return", "f(3)", "raised SyntaxError: "),
        ("a = 1\0", "a", "raised "),
        ("", "f(3)", "raised NameError: name 'f' is not defined"),
        ("import numpy", "", "raised ModuleNotFoundError: No module named 'numpy'"),
        ("def f(): return f()", "f()", "raised RecursionError: maximum recursion depth exceeded"),
        (
            "def f(x): raise StopIteration",
            "for x in map(f, [1]): assert x",
            "raised RuntimeError: raised StopIteration",
        ),
        ("def abs(x): return 0\ndef f(x): return 5", "assert abs(f(1) - 7) < 1e-6", "assertion failed: "),
        ("import string as math", "math.digits", "raised NameError: name 'math' is not defined"),
        ("", "sum(range(10**12))  # never looks at a signal", "timed out after 0.3 s"),
        ("def f(): return object()", "f()", "returned object, which is not plain data"),
        ("def f(x): x.append(object())", "f([])", "returned object, which is not plain data"),
        ("def f(): return 'x' * 10**7", "f()", "returned more than 4 MB"),
        ("def f():\n while True: yield 'x' * 10**5", "next(f())", "returned more than 4 MB"),
        ("def f():\n x = []\n for _ in range(999): x = [x]\n return x", "f()", "returned more than 100 levels of nest"),
        ("def f(x): return x", "f(object())", "the tests gave the program object, which is not plain data"),
        ("def f(g): return g()", "f(object)", "raised TypeError: a function of the tests returned object, which is n"),
        ("def f(): return lambda: 0", "f().name", "raised AttributeError: 'Function' object has no attribute 'name'"),
        ("class A: pass", "assert A() == 3", "assertion failed: assert A() == 3"),
        ("class A: pass", "assert A() == A()", "assertion failed: assert A() == A()"),
        ("class A: pass", "A().x", "raised AttributeError: 'A' object has no attribute 'x'"),
        ("class A:\n __gt__ = lambda *_: True", "assert A() > 3", "raised TypeError: '>' not supported between inst"),
        ("class A:\n __sub__ = lambda *_: 0", "assert abs(A() - 3) < 1", "raised TypeError: unsupported operand"),
        ("class A:\n __contains__ = lambda *_: True", "assert 3 in A()", "raised TypeError: "),
        ("import sys\nsys.exit(0)", "", "exited before the tests ended"),
        ("import sys\ndef f(): sys.exit(0)", "f()", "exited before the tests ended"),
        ("import os\nos._exit(0)", "", "exited before the tests ended"),
        ("import os\ndef f(): os._exit(0)", "try: f()\nexcept BaseException: pass", "exited before the tests ended"),
        ("import os\nos.kill(os.getpid(), 9)", "", "killed by SIGKILL before the tests ended"),
        ("x = bytearray(10**10)", "", "memory limit of 512 MB"),
        ("x = []\nwhile True: x.append(bytes(10**7))", "", "memory limit of 512 MB"),
        ("while True: pass", "", "timed out after 0.3 s"),
        ("def f():\n while True:\n  try: f()\n  except BaseException: pass", "f()", "timed out after 0.3 s"),
        ("def f(): return 1", "while f(): pass", "timed out after 0.3 s"),
        ("def f(): return 1", "while True:\n try: f()\n except BaseException: pass", "timed out after 0.3 s"),
        ("while True: print('x' * 10**6)", "", "timed out after 0.3 s"),
        ("import os\nos.kill(os.getpid(), 19)", "", "timed out after 0.3 s"),
        ("def f(): 10**10**10", "f()", ""),
    ],
)
def test_wrong_programs_fail_for_a_reason(solution, tests, reason):
    start = time.monotonic()
    verdict = sandbox.run(solution, tests, timeout=3.0 if reason and not reason.startswith("timed out") else 0.3)
    assert not verdict.passed and verdict.reason.startswith(reason)
    assert len(verdict.reason) < 240 and verdict.reason.isprintable()
    assert verdict.seconds <= time.monotonic() - start < 30


STACK = """
from dataclasses import dataclass
from functools import cache, total_ordering

class Stack:
    most = 3
    def __init__(self, *items): self.items = list(items)
    def push(self, item):
        if len(self.items) == self.most: raise OverflowError("full", item)
        self.items.append(item)
        return self
    def __len__(self): return len(self.items)
    def __getitem__(self, at): return self.items[at]
    def __iter__(self): return iter(self.items)
    @classmethod
    def of(cls, items): return cls(*items)
class Short(Stack): most = 1

@total_ordering
@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
    def __mul__(self, by): return Point(by * self.x, by * self.y)
    __rmul__ = __mul__
    def __sub__(self, other): return 0
    def __lt__(self, other): return (self.x, self.y) < (other.x, other.y)

def short(): return Short()
def top(stack): return stack[-1]
@cache
def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
"""


@boxed
@pytest.mark.parametrize(
    "tests",
    [
        "s = Stack().push(1).push([2]); assert len(s) == 2 and s.items == [1, [2]] and s[-1] == [2] and top(s) == [2]",
        "s = Stack(1, 2); s.items = [5]; s.push(6); assert list(s) == [5, 6] and 6 in s and [x for x in s] == [5, 6]",
        "s = Stack.of('ab'); assert s and not Stack() and s != 'ab' and s != ['a', 'b'] and s == s and Stack.most == 3",
        "try: short().push(1).push(2)\nexcept OverflowError as e: assert e.args == ('full', 2)\nelse: assert 0\nStack",
        "assert isinstance(short(), Stack) and isinstance(short(), Short) and not isinstance(Stack(), Short)",
        "assert Point(1, 2) == Point(1, 2) != Point(2) and Point(1) + Point(2, 3) == Point(3, 3)",
        "assert Point(1, 2) * 3 == 3 * Point(1, 2) == Point(3, 6) and sum([Point(2)], Point(1)).x == 3",
        "s = Stack(); assert s.push(1) is s and Stack is Stack and s.push(2) is not Stack()",
        "try: Point(3) - 3\nexcept TypeError: pass\nelse: assert 0  # what comes out could be any number",
        "assert max(Point(1), Point(2)).x == 2 and sorted([Point(3), Point(1)])[0] == Point(1)",
        "assert str(Point(1)) == 'Point(x=1, y=0)' and len({Point(1), Point(1), Point(2)}) == 2",
        "p = {Point(1): 'a'}; assert p[Point(1)] == 'a' and hasattr(Point(1), 'x') and not hasattr(Point, 'z')",
        "assert fibonacci(80) == 23416728348467685 and fibonacci.cache_info() and fibonacci.__name__ == 'fibonacci'",
    ],
)
def test_tests_that_name_a_class_can_use_its_objects(tests):
    assert sandbox.run(STACK, tests)[:2] == (True, "passed")


@boxed
@pytest.mark.parametrize(
    ("solution", "tests"),
    [
        ("def adder(n): return lambda x: x + n", "assert adder(3)(4) == 7 and list(map(adder(1), [1, 2])) == [2, 3]"),
        ("def each(f, xs): return [f(x) for x in xs]", "assert each(lambda x: 2 * x, [1, 2]) == [2, 4]"),
        ("def each(f, xs): return [f(x) for x in xs]", "assert each(str, [1]) == ['1'] and each(max, [[1, 3]]) == [3]"),
        ("def after(f, g): return lambda *x: f(g(*x))", "assert after(abs, lambda x, y: x - y)(3, 5) == 2"),
        (
            "def loud(f): return lambda x: f(x) + '!'",
            "@loud\ndef hi(name): return 'hi ' + name\nassert hi('é') == 'hi é!'",
        ),
        (
            "def f(g): return g(h)\ndef h(x): return x + 1",
            "assert f(lambda k: k(3)) == 4  # there, back and there again",
        ),
        (
            "def f(g):\n try: g()\n except ValueError as e: return e.args",
            "def g(): raise ValueError(1)\nassert f(g) == (1,)",
        ),
        ("def same(f): return f", "f = len; assert same(f) is f and same(same) is same"),
        ("def f(self, what): return self + what", "assert f(self=1, what=2) == 3"),
        ("def walk(x, see):\n for y in x: see(y)", "seen = []; walk([1, [2]], seen.append); assert seen == [1, [2]]"),
    ],
)
def test_functions_cross_in_both_directions(solution, tests):
    assert sandbox.run(solution, tests)[:2] == (True, "passed")


def test_tests_that_are_no_python_are_the_callers_error():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(ValueError, match=r"the tests are not valid Python: .*line 2"):
            sandbox.run("f = 1", "assert f\nassert (", allow_unsandboxed=True)
        with pytest.raises(ValueError, match="program 1 of 2, counted from 0: the tests are not valid"):
            sandbox.run_many([("", ""), ("", "]")], allow_unsandboxed=True)
    with pytest.raises(ValueError, match="longer than 4 MB"):
        jail._judge("", "#" * 5_000_000, 1.0, 512, True, set())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"timeout": 0}, "timeout must be a number of seconds above 0; got 0"),
        ({"timeout": float("inf")}, "timeout must be"),
        ({"memory_mb": 10}, "memory_mb must be a whole number, 64 or more"),
        ({"memory_mb": 99.5}, "memory_mb must be"),
        ({"workers": 0}, "workers must be a whole number, 1 or more; got 0"),
    ],
)
def test_limits_that_are_none_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        sandbox.run_many([], **wrong)


# ---- forgers

EQUAL = (
    "class {0}({1}):\n __eq__ = __ge__ = __le__ = __ne__ = lambda *_: True\n __hash__ = None\ndef f(x): return {0}()"
)
FORGERS = {
    "an object that equals all": EQUAL.format("Fake", "object"),
    "an object that says yes": "class Yes:\n __getattr__ = lambda *_: lambda *_: True\n __len__ = lambda _: 10\n"
    "def f(x): return Yes()",
    "a function that says yes": "def f(x):\n def g(*_): return True\n g.startswith = g.__eq__ = g\n return g",
    "a class in the function's place": "class f:\n __init__ = lambda *_: None\n __len__ = lambda _: 10\n"
    " __eq__ = startswith = lambda *_: True\n",
    "names that are methods": "from collections import namedtuple\n"
    "def f(x): return namedtuple('N', 'startswith endswith')(lambda *_: True, lambda *_: True)",
    "a lie about its class": "import sys\nwhose = sys.modules['elastic_lib.sandbox.program']\n"
    "whose.lineage = lambda kind: ['f', 'check', 'map', 'str', 'Yes']\n"
    "whose.described = lambda value: ('call', ('f', f)) if value is f else None\n"
    "class Yes:\n __eq__ = startswith = lambda *_: True\n __len__ = lambda _: 10\ndef f(x): return Yes()",
    "questions": "import gc, sys\nwhose = sys.modules['elastic_lib.sandbox.program']\n"
    "me = next(one for one in gc.get_objects() if isinstance(one, whose.Program))\n"
    "def f(x):\n for n in range(9): whose.send(me.replies, b'?' + whose.encoded((n, ('xyzzy-4711',), {})))\n",
    "an int that equals all": EQUAL.format("Fake", "int"),
    "a str that equals all": EQUAL.format("Fake", "str"),
    "a list that equals all": EQUAL.format("Fake", "list"),
    "its own builtins": "def abs(x): return 0\ndef len(x): return 7\nall = any = isinstance = lambda *_: 1",
    "everybody's builtins": "import builtins as b\nb.len = b.abs = b.sorted = b.all = b.isinstance = lambda *_: 1\n"
    "b.AssertionError = b.Exception = b.BaseException = SystemExit\ndef f(x): return 0",
    "no assertion": "AssertionError = type('AssertionError', (SystemExit,), {})\ndef f(x): raise AssertionError(0)",
    "a loop that ends": "def f(x): raise StopIteration",
    "a generator that ends": "class Done(StopIteration): pass\ndef f(x): raise Done",
    "a verdict everywhere": "import os\nfor n in range(256):\n for words in (b'Ppassed', b'\\0ready\\nPpassed\\n'):\n"
    "  try: os.write(n, words)\n  except OSError: pass\nprint('Ppassed')\ndef f(x): return 0",
    "a patched encoding": "import sys\nfor module in [m for name, m in sys.modules.items() if 'sandbox' in name]:\n"
    " for name in vars(module):\n  if callable(getattr(module, name)): setattr(module, name, lambda *_, **k: b'P')",
    "the judge's own code": "import sys\ninside = sys.modules['elastic_lib.sandbox.judge']\nfor n in range(64):\n"
    " try: inside.Judge(n, 0, (n, n), 0).end.__func__\n except Exception: pass\n"
    "inside.Judge.ask = lambda *_: 7\ndef f(x): return 0",
    "traces and handlers": "import atexit, os, signal, sys\nsys.settrace(print)\natexit.register(os._exit, 0)\n"
    "for n in range(1, 65):\n try: signal.signal(n, lambda *_: os._exit(0))\n except (OSError, ValueError): pass\n"
    "def f(x): return 0",
    "alarms": "import os, signal\nfor n in range(1, 65):\n"
    " try: os.kill(1, n)\n except (OSError, ValueError): pass\ndef f(x): return 0",
    "the frames and the heap": "import gc, sys\ndef f(x):\n frame, seen = sys._getframe(), list(gc.get_objects())\n"
    " while frame: seen += [*frame.f_locals.values(), *frame.f_globals.values()]; frame = frame.f_back\n"
    " return next((s for s in seen if type(s) is str and s.startswith('xyzzy-')), None)",
    "modules for the tests": "for name in ('random', 'fractions', 'json'):\n"
    " open(f'{name}.py', 'w').write('import os; os._exit(0)')\ndef f(x): return 0",
    "a module that is another": "import operator as math\ndef f(x): return 0",
    "a child that answers": "import os, time\nif os.fork(): time.sleep(0.1); os._exit(0)\ndef f(x): return 0",
}
STRICT = """
import fractions, json, random
def check(f):
    for got in map(f, [3]):
        assert abs(len(got) - 10) < 1e-6
        assert isinstance(got, str) and got == "xyzzy-" + str(4700 + 11) and all([got == "xyzzy-4711"])
        return
    assert got
check(f)
"""


# What no operator decides, but a method, or the truth of an answer alone.
ASKED = "assert f(3).startswith('xyzzy') and f(3).endswith('11')"


@boxed
@pytest.mark.parametrize("tests", [STRICT, ASKED], ids=["operators", "methods"])
def test_an_honest_program_passes_what_no_forger_does(tests):
    assert sandbox.run("def f(x): return 'xyzzy-4711'", tests).passed


@boxed
@pytest.mark.parametrize("tests", [STRICT, ASKED], ids=["operators", "methods"])
@pytest.mark.parametrize("forger", FORGERS)
def test_no_program_forges_a_verdict(forger, tests):
    verdict = sandbox.run(FORGERS[forger], tests, timeout=1.5)
    assert not verdict.passed, verdict


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, GeneratorExit])
def test_nothing_that_a_program_raises_ends_a_loop_of_the_tests(kind):
    """It would end early, and so pass: by its own name, as a class of the program's, as one that the tests know."""
    for names, own in (([], {}), (["Done"], {}), (["Done"], {"Done": type("Done", (kind,), {})})):
        names = [*names, *plain.lineage(kind)]
        with pytest.raises(RuntimeError, match=f"^raised {names[0]}$"):
            for _ in map(raises, [plain.exception(names, (), own)]):
                pass


def raises(error):
    raise error


# Each tries one thing that a program in a jail might; whatever it gets, it must not be a verdict, nor a way out.
HOSTILE = {
    "an import hook": "import sys\nclass Hook:\n def find_spec(self, name, *_): __import__('os')._exit(0)\n"
    "sys.meta_path.insert(0, Hook()); sys.modules.pop('json', None)",
    "a path hook": "import sys\nsys.path[:0] = ['/tmp', '.']; sys.path_hooks.insert(0, lambda path: 1 / 0)",
    "ctypes on the interpreter": "import ctypes\nctypes.pythonapi.PyObject_IsTrue = lambda *_: 1\n"
    "p = ctypes.c_long.from_address(id(1) + 24); p.value = 1",
    "ctypes that crashes": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "stack smashed": "import sys, ctypes\nctypes.memset(id(sys), 0, 64)",
    "an exit while it is defined": "import os\nos.kill(0, 9)",
    "every descriptor read": "import os\nfor n in range(64):\n try: os.set_blocking(n, False); os.read(n, 9)\n"
    " except OSError: pass",
    "every descriptor closed": "import os\nos.closerange(0, 256)",
    "every descriptor doubled": "import os\nfor n in range(64):\n for m in range(64):\n  try: os.dup2(n, m)\n"
    "  except OSError: pass",
    "descriptors of others": "import os\nfor pid in range(1, 9):\n for n in range(9):\n"
    "  try: os.write(os.open(f'/proc/{pid}/fd/{n}', 1), b'\\0ready\\nPpassed')\n  except OSError: pass",
    "memory of others": "for pid in (1, 2, 3):\n"
    " try: open(f'/proc/{pid}/mem', 'r+b').write(b'P')\n except OSError: pass",
    "a descriptor that is passed": "import os, socket\na, b = socket.socketpair()\n"
    "for n in range(9):\n try: socket.send_fds(a, [b'x'], [n]); os.write(socket.recv_fds(b, 1, 1)[1][0], b'Ppassed')\n"
    " except OSError: pass",
    "a socket with no file": "import socket\ns = socket.socket(socket.AF_UNIX)\n"
    "for name in ('\\0judge', '/run/docker.sock', '/tmp/.X11-unix/X0'):\n try: s.connect(name)\n except OSError: pass",
    "huge output": "import os, sys\nfor _ in range(200): sys.stdout.write('P' * 10**6); os.write(1, b'P' * 10**5)",
    "a huge answer": "def f(x): return ['x' * 10**6] * 99",
    "a huge name": "globals()['x' * 10**6] = 1",
    "a million names": "globals().update({f'n{i}': i for i in range(10**6)})",
    "a symlink to everything": "import os\nfor name in ('/', '/etc', '/proc/1/root', '/dev'):\n"
    " os.symlink(name, '/tmp/' + name.replace('/', '_'))\ntry: open('/tmp/_etc/shadow').read(); f = lambda x: 0\n"
    "except OSError: pass",
    "a hard link": "import os\ntry: os.link('/bin/sh', '/tmp/sh')\nexcept OSError: pass",
    "a device of its own": "import os, stat\ntry: os.mknod('/tmp/d', stat.S_IFBLK | 0o600, os.makedev(8, 0))\n"
    "except OSError: pass",
    "a mount": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.mount(b'none', b'/tmp', b'tmpfs', 0, 0)\n"
    "libc.chroot(b'/tmp'); libc.pivot_root",
    "out of the chroot": "import os\ntry:\n os.mkdir('/tmp/a'); os.chroot('/tmp/a')\n"
    " for _ in range(99): os.chdir('..')\n"
    " os.chroot('.')\nexcept OSError: pass",
    "another user": "import os\nfor n in (0, 1000):\n for way in (os.setuid, os.seteuid, os.setgid):\n  try: way(n)\n"
    "  except OSError: pass",
    "a set-user program": "import subprocess\nfor name in ('su', 'sudo', 'mount', 'sh'):\n"
    " try: subprocess.run([name], timeout=1)\n except Exception: pass",
    "threads": "import threading\ndef spin():\n while True: pass\nfor _ in range(99):\n"
    " try: threading.Thread(target=spin, daemon=True).start()\n except RuntimeError: break",
    "a thread that answers": "import os, threading, time\ndef late():\n time.sleep(.05)\n for n in range(9):\n"
    "  try: os.write(n, b'Ppassed')\n  except OSError: pass\nthreading.Thread(target=late).start()",
    "recursion without a limit": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "recursion in a repr": "class A:\n def __repr__(self): return repr(self)\ndef f(x): raise ValueError(A())",
    "a finaliser": "import os\nclass A:\n def __del__(self):\n  for n in range(9):\n   try: os.write(n, b'Ppassed')\n"
    "   except OSError: pass\ndef f(x): return [A() for _ in range(9)] and None",
    "a collector's callback": "import gc, os\ngc.callbacks.append(lambda *_: os._exit(0)); gc.set_threshold(1)",
    "objects that come back": "keep = []\nclass A:\n def __del__(self): keep.append(self)\nfor _ in range(999): A()",
    "weak references": "import gc, weakref\nfor one in gc.get_objects():\n try: weakref.finalize(one, print)\n"
    " except TypeError: pass",
    "a trace of every call": "import sys\nsys.setprofile(lambda *_: None); sys.settrace(lambda *_: sys.exit(0))",
    "signals at every moment": "import signal\nsignal.setitimer(signal.ITIMER_REAL, .001, .001)\n"
    "signal.signal(signal.SIGALRM, lambda *_: 1 / 0)",
    "an unpickled command": "import pickle\nclass A:\n"
    " def __reduce__(self): return (exec, ('import os; os._exit(0)',))\n"
    "def f(x): return pickle.dumps(A())",
    "a verdict in its error": "def f(x): raise Exception('\\0ready\\nPpassed')",
    "a verdict as its name": "class Ppassed(Exception): pass\nPpassed.__name__ = '\\0ready\\nP'\n"
    "def f(x): raise Ppassed",
    "a frame of the wrong length": "import os, struct\nfor n in range(9):\n"
    " try: os.write(n, struct.pack('<I', 2**31) + b'P' * 99)\n except OSError: pass",
    "a key that lies": "class K(str):\n __hash__ = lambda s: 1\n __eq__ = lambda *_: True\n"
    "def f(x): return {K('a'): 1}",
    "numbers without end": "def f(x): return 1 << (8 * 10**8)",
    "text that is none": "def f(x): return '\\ud800' * 10**6",
    "a generator without end": "def f(x):\n while True: yield 'xyzzy-4711'",
    "sleep": "import time\ndef f(x): time.sleep(99)",
    "stopped": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)",
    "memory by mapping": "import mmap\nkeep = [mmap.mmap(-1, 10**8) for _ in range(99)]",
    "shared memory": "from multiprocessing import shared_memory\n"
    "try: shared_memory.SharedMemory('x', True, 10**9)\n"
    "except OSError: pass",
    "files without end": "import os\nfor n in range(10**5):\n"
    " try: open(f'/tmp/{n}', 'w').close()\n except OSError: break",
    "a deep folder": "import os\ntry:\n for _ in range(5000): os.mkdir('d'); os.chdir('d')\nexcept OSError: pass",
}


@boxed
@pytest.mark.parametrize("how", ["as it comes", "in a user namespace"])
def test_hostile_programs_get_neither_out_nor_a_verdict(how, monkeypatch, torture):
    """And an honest program still passes after each few; all of them in make torture, every sixth in make test."""
    if how != "as it comes":
        if not torture.full:
            pytest.skip("the other way in is tried in make torture")
        monkeypatch.setattr(jail, "_passing_user", lambda: 0)
    names = list(HOSTILE)[:: torture.many(6, 1)]
    honest = ("def f(x): return 'xyzzy-4711'", STRICT)
    outside = {folder: sorted(os.listdir(folder)) for folder in ("/", "/etc", REPOSITORY)}
    rest = "\ndef f(x): return 0"
    programs = [(HOSTILE[n] + ("" if "def f" in HOSTILE[n] or "f = " in HOSTILE[n] else rest), STRICT) for n in names]
    verdicts = sandbox.run_many([pair for one in programs for pair in (one, honest)], timeout=1.0, workers=2)
    assert {name: v.reason for name, v in zip(names, verdicts[::2], strict=True) if v.passed} == {}
    assert all(v.passed or v.reason.startswith("timed out") for v in verdicts[1::2])
    assert sandbox.run(*honest, timeout=10.0).passed
    assert {folder: sorted(os.listdir(folder)) for folder in outside} == outside
    torture.count("hostile programs", f"{how}: programs", len(names), "0 escapes, 0 forged verdicts")
    torture.count("hostile programs", f"{how}: honest ones between them", len(names), "0 refused")


LOOK = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Piece(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
text = ctypes.create_string_buffer(b"here")
def read(pid):
    into = ctypes.create_string_buffer(4)
    pieces = [Piece(ctypes.addressof(b), 4) for b in (into, text)]
    done = libc.process_vm_readv(pid, ctypes.byref(pieces[0]), 1, ctypes.byref(pieces[1]), 1, 0)
    return into.value.decode() if done == 4 else os.strerror(ctypes.get_errno())
def own():
    libc.prctl(4, 1, 0, 0, 0)
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        os.write(go, b"x")
        while True: pass
    os.read(ready, 1)
    return read(child)
def attach(pid): return os.strerror(ctypes.get_errno()) if libc.ptrace(16, pid, 0, 0) else "attached"
def descriptor(pid):
    return os.strerror(ctypes.get_errno()) if libc.syscall(438, libc.syscall(434, pid, 0), 1, 0) < 0 else "taken"
def spaces(): return libc.unshare(0x10000000)
def proc(): return os.path.exists("/proc/self")
def users(): return [os.getuid(), os.getppid()]
"""


@boxed
def test_nobody_looks_into_the_judge(entrance):
    tests = """
assert own() == "here", "the test itself does not work: " + own()
assert read(1) == attach(1) == "Operation not permitted", read(1) + attach(1)
assert descriptor(1) in ("Operation not permitted", "Function not implemented"), descriptor(1)
assert spaces() == -1 and not proc()
assert users()[0] >= 61184 and users()[1] == 1, users()
"""
    assert sandbox.run(LOOK, tests)[:2] == (True, "passed")


# ---- those that want out


@boxed
def test_no_way_to_home_repository_environment_or_network(entrance, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "4711")
    (tmp_path / "note").write_text("private")
    private = [str(Path.home()), str(REPOSITORY), str(tmp_path)]
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    solution = f"""
import os, socket
def tried(work, *args):
    try: return work(*args)
    except OSError: return None
def write(folder): return tried(lambda: open(os.path.join(folder, "left-by-a-program"), "w").write("x"))
def reads(): return [tried(os.listdir, p) or [] for p in {private}]
def writes(): return [write(p) for p in {["/", "/usr/lib", "/dev", "/etc", *private]}]
def scratch(): return write("/tmp"), write(".")
def environment(): return dict(os.environ)
def connect(): return tried(socket.create_connection, ("127.0.0.1", {server.getsockname()[1]}), 0.2)
"""
    python = Path(sys.base_prefix).resolve()  # may lie in the home; nothing else of it is there
    above = [python.relative_to(p).parts[0] for p in private if python.is_relative_to(p)]
    tests = f"""
assert [name for names in reads() for name in names] == {above}, reads()
assert not any(writes()), writes()
assert scratch() == (1, 1)
assert not set(environment()) - {{"PWD", "LC_CTYPE"}}, environment()
assert connect() is None
"""
    assert sandbox.run(solution, tests)[:2] == (True, "passed")
    with pytest.raises(BlockingIOError):
        server.accept()
    server.close()
    assert not [folder for folder in ("/", "/tmp", *private) if Path(folder, "left-by-a-program").exists()]


@boxed
def test_killing_everybody_kills_nobody(entrance):
    kill = (
        "import os\nfor pid in (os.getppid(), 1, -1):\n try: os.kill(pid, 9)\n except OSError: pass\ndef f(): return 1"
    )
    assert sandbox.run(kill, "assert f() == 1")[:2] == (True, "passed")


@boxed
def test_files_cannot_fill_the_memory(entrance):
    solution = """
import errno, os
def one():
    try: open("/tmp/big", "wb").write(bytes(10**8))
    except OSError as error: return errno.errorcode[error.errno]
    finally: os.remove("/tmp/big")
def many():
    for n in range(99):
        try: open(f"/tmp/{n}", "wb").write(bytes(900_000))
        except OSError as error: return [n, errno.errorcode[error.errno]]
"""
    assert sandbox.run(solution, "assert one() == 'EFBIG'\nassert many() == [4, 'ENOSPC'], many()").passed


@boxed
@as_root
def test_a_fork_bomb_stays_small_and_ends():
    bomb, most, over = "import os\nwhile True:\n try: os.fork()\n except OSError: pass", [0], threading.Event()

    def watch():
        while not over.is_set():
            most[0] = max(most[0], len(alive(OURS)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    verdict = sandbox.run(bomb, "", timeout=1.0, memory_mb=OURS)
    over.set()
    watcher.join()
    assert verdict[:2] == (False, "timed out after 1.0 s")
    assert 4 <= most[0] <= 8 + 2  # and the judge, and bubblewrap
    assert wait_until(lambda: not alive(OURS))


@boxed
def test_nobody_inside_has_a_right(entrance):
    other = threading.Thread(
        target=sandbox.run, args=("while True: pass", ""), kwargs={"timeout": 1.0, "memory_mb": OURS}
    )
    other.start()
    assert wait_until(lambda: len(alive(OURS)) == 3)  # bubblewrap, the judge, the program
    time.sleep(0.2)
    status = [(process / "status").read_text() for process in alive(OURS)]
    other.join()
    assert [text.partition("CapEff:\t")[2][:16] for text in status] == ["0" * 16] * 3


@boxed
def test_what_a_program_started_goes_with_it(entrance):
    sleeper = """
import os, threading, time
def loop():
    while True: pass
threading.Thread(target=loop).start()
if not os.fork():
    os.setsid()
    if not os.fork(): time.sleep(1000)
    os._exit(0)
def f(): return 1
"""
    assert sandbox.run(sleeper, "assert f() == 1", memory_mb=OURS).passed
    assert wait_until(lambda: not alive(OURS))


@boxed
@pytest.mark.parametrize(("ending", "spaces"), [(signal.SIGINT, 0), (signal.SIGKILL, 0), (signal.SIGKILL, 1)])
def test_a_caller_that_is_stopped_leaves_nothing(ending, spaces):
    code = "from elastic_lib import sandbox; from elastic_lib.sandbox import jail; jobs = [('while 1: pass', '')] * 8; "
    code += "jail._passing_user = lambda: 0; " * spaces
    code += f"sandbox.run_many(jobs, workers=2, timeout=60, memory_mb={OURS})"
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        assert wait_until(lambda: len(alive(OURS)) >= 6)
        caller.send_signal(ending)
        words = caller.communicate(timeout=30)[1]
    finally:
        caller.kill()
    assert ("KeyboardInterrupt" in words) == (ending == signal.SIGINT)
    assert wait_until(lambda: not alive(OURS))


@boxed
def test_a_program_that_starts_while_its_caller_is_stopped_is_stopped_too():
    running = jail._Running()
    running.stop()
    started = time.monotonic()
    try:
        assert not jail._judge("while 1: pass", "", 60.0, OURS, True, running).passed
    except jail.SandboxUnavailable:
        pass  # it was killed before it came to judge, as it mostly is
    assert time.monotonic() - started < 20 and wait_until(lambda: not alive(OURS))


# ---- many programs


@boxed
def test_verdicts_come_in_order_beside_another_caller(capsys):
    numbers = list(range(24))
    programs = [(f"def f(): return {n}", f"assert f() % 3 == 0, '{n}'") for n in numbers]
    other = threading.Thread(target=sandbox.run_many, args=(programs,), kwargs={"workers": 2, "title": "another"})
    other.start()
    verdicts = sandbox.run_many(iter(programs), workers=2, title="two dozen")
    other.join()
    assert [v.passed for v in verdicts] == [n % 3 == 0 for n in numbers]
    assert [v.reason for v in verdicts if not v.passed] == [f"assertion failed: {n}" for n in numbers if n % 3]
    said = capsys.readouterr().err
    assert "two dozen" in said and "another" in said and "24/24" in said
    assert sandbox.run_many([]) == []


@boxed
@pytest.mark.skipif(not DATA.is_file(), reason="needs ELASTIC_DATA with humaneval/HumanEval.jsonl.gz")
def test_humaneval_passes_with_its_own_solutions_and_fails_with_none():
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines]
    tests = [f"{p['test']}\ncheck({p['entry_point']})" for p in problems]
    right = [p["prompt"] + p["canonical_solution"] for p in problems]
    wrong = [p["prompt"].rstrip() + "\n    return None\n" for p in problems]
    start = time.monotonic()
    verdicts = sandbox.run_many(zip(right, tests, strict=True), timeout=10.0)
    took = time.monotonic() - start
    failed = {p["task_id"]: v.reason for p, v in zip(problems, verdicts, strict=True) if not v.passed}
    assert len(verdicts) == 164 and not failed
    assert took < 30
    assert not any(v.passed for v in sandbox.run_many(zip(wrong, tests, strict=True), timeout=10.0))


# ---- machines without bubblewrap


def test_the_refusal_says_why_and_the_warning_too(monkeypatch):
    monkeypatch.setattr(jail, "missing", lambda: "bubblewrap is on holiday")
    with pytest.raises(jail.SandboxUnavailable, match=r"on holiday\n.*allow_unsandboxed"):
        sandbox.run("", "")
    with pytest.raises(jail.SandboxUnavailable, match="on holiday"):
        sandbox.run_many([("", "")])
    with pytest.warns(UserWarning, match="without protection: bubblewrap is on holiday") as seen:
        verdict = sandbox.run("def f(): return 1", "assert f() == 1", allow_unsandboxed=True)
    assert verdict[:2] == (True, "passed") and seen[0].filename == __file__


@pytest.mark.filterwarnings("ignore:running programs without protection")
def test_without_bubblewrap_the_judge_is_the_same(monkeypatch):
    monkeypatch.setattr(jail, "missing", lambda: "bubblewrap is on holiday")
    monkeypatch.setenv("SECRET_TOKEN", "4711")
    forgers = ["an int that equals all", "everybody's builtins", "a verdict everywhere", "modules for the tests"]
    verdicts = sandbox.run_many([(FORGERS[name], STRICT) for name in forgers], allow_unsandboxed=True)
    assert not any(v.passed for v in verdicts)
    programs = [
        ("import os\ndef f(): return os.getcwd(), dict(os.environ)", "assert f() == 0, f()"),
        ("while True: pass", ""),
        ("x = bytearray(10**10)", ""),
        ("import os\nos.kill(os.getppid(), 9)", ""),
        ("open('big', 'wb').write(bytes(10**7))", ""),
    ]
    found = sandbox.run_many(programs, timeout=0.5, allow_unsandboxed=True)
    words = [v.reason for v in found]
    folder = words[0].partition("('")[2].partition("'")[0]
    assert "4711" not in words[0] and not Path(folder).exists()
    assert words[1:4] == ["timed out after 0.5 s", "memory limit of 512 MB", "the judge was killed"]
    assert words[4].startswith("raised OSError: [Errno 27]") and not any(v.passed for v in found)


@pytest.mark.skipif(sys.platform != "linux", reason="what is said here is said on Linux")
def test_what_is_missing_comes_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    why = sandbox.missing.__wrapped__
    assert "apt install bubblewrap" in why()
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho bubblewrap 0.6.1\n")
    bwrap.chmod(0o755)
    assert "bubblewrap 0.6.1 is too old: 0.8.0" in why()
    bwrap.write_text(
        "#!/bin/sh\ntest $1 = --version && echo bubblewrap 0.9.0 && exit\necho No permissions to create new namespace\n"
    )
    assert "No permissions" in why() and "sysctl" in why() and "--privileged" in why()
    bwrap.write_text("#!/bin/sh\ntest $1 = --version && echo bubblewrap 0.9.0 && exit\n")
    assert "does not start: it says nothing" in why()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert why() == "the sandbox needs Linux and bubblewrap; this is darwin"


def test_importing_it_costs_nothing():
    code = "import sys; old = set(sys.modules); import elastic_lib.sandbox.jail; print(*set(sys.modules) - old)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    roots = {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    assert roots == {
        "elastic_lib",
        *(f"elastic_lib.{name}" for name in ("progress", "sandbox", "sandbox.jail", "sandbox.plain")),
    }


@boxed
@as_root
def test_an_ordinary_user_is_as_safe():
    code = f"""
import sys; sys.path.insert(0, {str(REPOSITORY)!r}); sys.dont_write_bytecode = True
from elastic_lib import sandbox
print(sandbox.missing())
print(sandbox.run("def f(): return 2", "assert f() == 2", memory_mb=529).reason)
print(sandbox.run("import os\\nwhile True:\\n try: os.fork()\\n except OSError: pass", "", timeout=0.5).reason)
print(sandbox.run({LOOK!r}, "assert own() == 'here' and read(1) == attach(1) == 'Operation not permitted'").reason)
print(sandbox.run({LOOK!r}, "assert descriptor(1) != 'taken' and spaces() == -1 and not proc()").reason)
"""
    user = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    for python in (sys._base_executable, "/usr/bin/python3"):
        try:
            version = "import sys, elastic_lib; assert sys.version_info >= (3, 11)"
            subprocess.run(
                [python, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {version}"],
                check=True,
                capture_output=True,
                **user,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, **user)
        assert done.stdout.split("\n")[:5] == ["None", "passed", "timed out after 0.5 s", "passed", "passed"], done
        return
    pytest.skip("no Python 3.11 or newer that user 65534 may run")
