"""Runs a program that nobody trusts, such as one that a language model wrote, against tests it cannot forge.

    sandbox.run("def twice(x): return 2 * x", "assert twice(3) == 6")  ->  Verdict(passed=True, reason="passed", …)

Each program gets a fresh interpreter (the standard library alone) inside bubblewrap: no network, no environment, no
home, nothing of the file system but the interpreter and its libraries, read-only, and 4 MB of /tmp; limits on time,
memory, processes and files; and whatever it started dies with it. `inside` says how the verdict is reached,
`judge` what the tests see of the program. Tests that use its own helpers and classes believe them.

Limits: `memory_mb` holds for each of at most 8 processes; the kernel itself is shared, as in any container. Started by
root, the program runs as a passing user without rights; started by anybody else, in a user namespace.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import marshal
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

from elastic_lib.progress import Progress
from elastic_lib.sandbox.plain import BYTES, READY, framed

FILES = 4_000_000  # bytes of all files that a program may write
START, GRACE = 30.0, 1.0  # seconds that the sandbox may take to start, and to say that the time is over
PASSING = range(61184, 65520)  # the user ids that systemd too gives to users who come and go
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/nix/store")
# Takes its modules from the beginning of stdin: the sandbox sees no file of this library.
BOOT = """
import marshal, os, sys, types
for name, code in marshal.loads(os.read(0, int(sys.argv.pop(1)))):
    sys.modules[name] = module = types.ModuleType(name)
    exec(code, module.__dict__)
module.main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
"""
SPACES = """This needs user namespaces. Switch them on: sudo sysctl -w user.max_user_namespaces=15000 (on Ubuntu 24.04
kernel.apparmor_restrict_unprivileged_userns=0, on old Debians kernel.unprivileged_userns_clone=1 as well). A container
needs --privileged, or --security-opt seccomp=unconfined --cap-add SYS_ADMIN."""


class Verdict(NamedTuple):
    """Whether a program passed its tests, why not in a few words, and how long they took."""

    passed: bool
    reason: str
    seconds: float


class SandboxUnavailable(RuntimeError):
    """Programs cannot be run safely on this machine; the message says how to change that."""


def run(
    solution: str, tests: str, *, timeout: float = 3.0, memory_mb: int = 512, allow_unsandboxed: bool = False
) -> Verdict:
    """Judges one program by tests, which are Python that asserts things about the names the program defines."""
    _check(timeout, memory_mb)
    boxed = _boxed(allow_unsandboxed)
    return _judge(solution, tests, timeout, memory_mb, boxed, _Running())


def run_many(
    programs: Iterable[tuple[str, str]],
    *,
    workers: int | None = None,
    title: str = "running programs",
    timeout: float = 3.0,
    memory_mb: int = 512,
    allow_unsandboxed: bool = False,
) -> list[Verdict]:
    """The verdicts of pairs of program and tests, in their order; one worker a processor unless told otherwise."""
    _check(timeout, memory_mb)
    workers = _processors() if workers is None else workers
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number, 1 or more; got {workers!r}")
    programs = list(programs)
    boxed, running = _boxed(allow_unsandboxed), _Running()
    with ThreadPoolExecutor(workers) as pool, Progress(title, len(programs)) as bar:
        jobs = [pool.submit(_judge, *pair, timeout, memory_mb, boxed, running) for pair in programs]
        try:
            for step, job in enumerate(as_completed(jobs), 1):
                if isinstance(job.exception(), ValueError):
                    raise ValueError(f"program {jobs.index(job)} of {len(jobs)}, counted from 0: {job.exception()}")
                job.result()
                bar.update(step)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            running.stop()
            raise
    return [job.result() for job in jobs]


@functools.cache
def missing() -> str | None:
    """Why programs cannot be run in bubblewrap here and what to do about it, or None where they can."""
    if sys.platform != "linux":
        return f"the sandbox needs Linux and bubblewrap; this is {sys.platform}"
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed: apt install bubblewrap (or dnf, pacman, zypper: the name is the same)"
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    version = said.split()[-1] if said.split() else "of no known version"
    if [int(part) for part in version.split(".") if part.isdigit()] < [0, 8]:
        return f"bubblewrap {version} is too old: 0.8.0 or newer is needed (as in Debian 12 or Ubuntu 24.04)"
    try:
        verdict = _judge("import json", "import json", 10.0, 512, True, _Running())
    except SandboxUnavailable as error:
        return str(error)
    if verdict.passed:
        return None
    return f"a program that does nothing {verdict.reason}; if it cannot read Python: chmod -R go+rX {sys.base_prefix}"


# ---- one program


class _Running:
    """The processes of a call while they live; once it is stopped none does, not even one that is just starting."""

    def __init__(self):
        self.processes, self.stopped = set(), False

    def add(self, process: subprocess.Popen) -> None:
        self.processes.add(process)
        if self.stopped:
            _kill_group(process)

    def stop(self) -> None:
        self.stopped = True
        for process in list(self.processes):
            _kill_group(process)


def _judge(solution: str, tests: str, timeout: float, memory_mb: int, boxed: bool, running: _Running) -> Verdict:
    """Runs one program; its process is in `running` while it lives."""
    given = [text.encode("utf-8", "surrogatepass") for text in (solution, tests)]
    if len(given[1]) > BYTES:
        raise ValueError(f"the tests are longer than {BYTES // 10**6} MB: make them shorter")
    if len(given[0]) > BYTES:
        return Verdict(False, f"the program is longer than {BYTES // 10**6} MB", 0.0)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryDirectory() as folder:
        stdin.write(_modules() + b"".join(map(framed, given)))
        stdin.seek(0)
        uid = _passing_user() if boxed else 0
        command = [*(_box(uid) if boxed else ()), *_python(), str(uid), str(float(timeout)), str(memory_mb)]
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            cwd="/" if boxed else folder,
            start_new_session=True,
        )
        running.add(process)
        try:
            said, seconds = _listen(process.stdout.fileno(), timeout)
        finally:
            _kill(process)
            running.processes.discard(process)
    return _verdict(said, seconds, timeout)


def _listen(pipe: int, timeout: float) -> tuple[bytes, float | None]:
    """What the judge says until it ends or its time does, and the seconds since it was ready, None if it never was."""
    said, began = b"", None
    deadline = time.monotonic() + START
    poll = select.poll()  # select cannot take the descriptors of a caller who has many files open
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        heard = os.read(pipe, 65536)
        if not heard:
            break
        said += heard
        if began is None and READY in said:
            began = time.monotonic()
            deadline = began + timeout + GRACE
    return said, None if began is None else time.monotonic() - began


def _verdict(said: bytes, seconds: float | None, timeout: float) -> Verdict:
    """The judge's words as a verdict, an error where it never came to judge."""
    words = said.partition(READY)[2].decode("utf-8", "replace")
    if seconds is None:
        early = said[-500:].decode("utf-8", "replace").strip() or "it says nothing"
        hint = f"\n{SPACES}" if "ermission" in early or "ermitted" in early or "namespace" in early else ""
        raise SandboxUnavailable(f"the sandbox does not start: {early}{hint}")
    if words.startswith("T"):
        raise ValueError(f"the tests are not valid Python: {words[1:]}")
    if not words:
        words = f"Ftimed out after {float(timeout)} s" if seconds >= timeout else "Fthe judge was killed"
    return Verdict(words[0] == "P", words[1:], seconds)


def _kill_group(process: subprocess.Popen) -> None:
    """Ends bubblewrap and the judge, who leaves the group only once the kernel ends it with bubblewrap."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _kill(process: subprocess.Popen) -> None:
    """Ends a process and its group, and waits until nobody holds its pipe."""
    _kill_group(process)
    process.wait()
    with process.stdout as pipe:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while poll.poll(GRACE * 1000) and os.read(pipe.fileno(), 65536):
            pass


def _boxed(allow_unsandboxed: bool) -> bool:
    """True where bubblewrap runs; else a refusal, or a warning to those who asked to go on."""
    why = missing()
    if why is None:
        return True
    if not allow_unsandboxed:
        raise SandboxUnavailable(
            f"{why}\nallow_unsandboxed=True runs programs without protection: for trusted ones only"
        )
    warnings.warn(f"running programs without protection: {why}", UserWarning, stacklevel=3)
    return False


def _check(timeout: float, memory_mb: int) -> None:
    """Refuses limits that are none."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a number of seconds above 0; got {timeout!r}")
    if isinstance(memory_mb, bool) or not isinstance(memory_mb, int) or memory_mb < 64:
        raise ValueError(f"memory_mb must be a whole number, 64 or more (Python itself needs 40); got {memory_mb!r}")


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- the box


@functools.cache
def _modules() -> bytes:
    """The code that runs inside, which the box takes from its stdin."""
    parts = ("plain", "program", "judge", "inside")  # each needs those before it
    names = [f"elastic_lib.sandbox.{part}" for part in parts]
    return marshal.dumps([(name, importlib.util.find_spec(name).loader.get_code(name)) for name in names])


def _python() -> list[str]:
    """The interpreter below any virtual environment, without its site-packages, waiting for the modules."""
    return [os.path.realpath(sys._base_executable or sys.executable), "-I", "-S", "-c", BOOT, str(len(_modules()))]


def _passing_user() -> int:
    """A user id without rights if this process is root and may take it, else 0; another one each time.

    The kernel does not hold root, whatever namespace it is in, to a number of processes.
    """
    if os.geteuid():
        return 0
    with open("/proc/self/uid_map") as lines:
        mapped = [range(int(first), int(first) + int(count)) for first, _, count in map(str.split, lines)]
    if not any(PASSING[0] in ids and PASSING[-1] in ids for ids in mapped):
        return 0
    return PASSING[int.from_bytes(os.urandom(4)) % len(PASSING)]


def _box(uid: int) -> list[str]:
    """The command that runs another in bubblewrap; as root everything lies in /box, where the judge goes to stay."""
    command = [shutil.which("bwrap"), "--die-with-parent", "--as-pid-1", "--hostname", "sandbox"]
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--cap-drop", "ALL"]
    if uid:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SYS_CHROOT"]
    else:
        command += ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
    box, seen = "/box" if uid else "", _seen()
    for path in seen:
        command += ["--dir", box + os.path.dirname(path)]  # else a bind makes it, and lets nobody but root in
        link = os.path.islink(path)
        command += ["--symlink", os.readlink(path), box + path] if link else ["--ro-bind", path, box + path]
    command += ["--dir", f"{box}/dev", "--dev-bind", "/dev/null", f"{box}/dev/null"]
    command += ["--perms", "1777", "--size", str(FILES), "--tmpfs", f"{box}/tmp"]
    for top in sorted({path.split("/")[1] for path in (*seen, "/dev", "/tmp")} if uid else ()):
        command += ["--symlink", f"box/{top}", f"/{top}"]
    return [*command, "--remount-ro", "/", "--chdir", "/tmp", "--"]


@functools.cache
def _seen() -> list[str]:
    """What the interpreter needs of the file system."""
    prefixes = [os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.base_exec_prefix)]
    libraries = [*LIBRARIES, *(f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64"))]
    needed = [*libraries, "/etc/ld.so.cache", _python()[0]]
    return [path for path in dict.fromkeys(needed) if os.path.exists(path)]
