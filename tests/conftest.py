"""What every test process does first.

One torch thread each: the suites run side by side, and more threads only wait for each other. And an interrupt is one,
for the programs that tests start too, even where the tests run in the background of a shell, which ignores it.
"""

import os
import signal

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A results folder of all test processes: who first needs a base or a record makes it, and the others wait."""
    here = tmp_path_factory.getbasetemp()
    folder = (here.parent if "PYTEST_XDIST_WORKER" in os.environ else here) / "shared"
    (folder / "bases").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def made(shared):
    """The finished record of a recipe, made once for all tests, which only read it."""
    from elastic_lib.records.record import Record
    from elastic_lib.run import run

    return lambda recipe: Record(run(recipe, shared))


@pytest.fixture
def results(shared, tmp_path):
    """A results folder of one's own, but for the bases."""
    (tmp_path / "bases").symlink_to(shared / "bases")
    return tmp_path
