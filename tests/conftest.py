"""What every test process does first.

One torch thread each: the suites run side by side, and more threads only wait for each other. And an interrupt is one,
for the programs that tests start too, even where the tests run in the background of a shell, which ignores it. And no
garbage is looked for while the tests are collected, nor ever among what was imported: a quarter of the time.
"""

import gc
import json
import os
import platform
import signal
import time
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

gc.disable()
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


class Kernel:
    """A kernel that many notebooks share, each of which finds nothing that another has defined."""

    FORGET = "__import__('gc').freeze()\n%reset -f"  # what is imported is no garbage to be looked through

    def __init__(self, environment):
        import nbformat
        from nbclient import NotebookClient

        self.client = NotebookClient(
            nbformat.v4.new_notebook(), timeout=600, resources={"metadata": {"path": NOTEBOOKS}}
        )
        self.running = self.client.setup_kernel(env=os.environ | environment)

    def execute(self, book, forget=FORGET):
        """Executes a notebook of nbformat's."""
        import nbformat

        book.cells.insert(0, nbformat.v4.new_code_cell(forget))
        self.client.nb = book
        self.client.reset_execution_trackers()
        for index, cell in enumerate(book.cells):
            self.client.execute_cell(cell, index)
        del book.cells[0]
        return book


@pytest.fixture(scope="session")
def kernel(shared):
    """One kernel for all that a process executes, which imports torch once and, as in JupyterLab, takes no pictures."""
    kernel = Kernel({"ELASTIC_FIGURES": str(shared / "figures"), "JPY_SESSION_NAME": "shared"})
    with kernel.running:
        yield kernel


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


# ---- torture: the same tests, tried much harder, and what they tried is counted


def pytest_addoption(parser):
    parser.addoption("--torture", metavar="FILE", help="try test_torture_* at full length; FILE keeps the counts")
    parser.addoption("--torture-seed", type=int, default=2023, help="of the random moments and inputs (2023)")


class Torture:
    """How hard the tests try, and what they count: nothing is written where they only try a little."""

    def __init__(self, config):
        self.full, self.seed = config.option.torture is not None, config.option.torture_seed
        self.lines = Path(f"{config.option.torture}.counts").absolute()  # a test may change folders

    def many(self, few, many):
        """Of two numbers, or of two of anything, the one for now."""
        return many if self.full else few

    def count(self, area: str, what: str, cases: int, wrong: str = "0 lost, 0 damaged") -> None:
        """Cases that were tried; a test that found one wrong has failed before it comes here."""
        if self.full:
            with self.lines.open("a") as file:
                file.write(json.dumps([area, what, cases, wrong]) + "\n")


@pytest.fixture(scope="session")
def torture(pytestconfig):
    return Torture(pytestconfig)


def pytest_configure(config):
    if config.option.torture is not None and "PYTEST_XDIST_WORKER" not in os.environ:
        Torture(config).lines.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """The counts as a table, on the terminal and, where nothing failed, in the file that was named."""
    if config.option.torture is None or "PYTEST_XDIST_WORKER" in os.environ:
        return
    lines = Torture(config).lines
    rows = sorted(json.loads(line) for line in lines.read_text().splitlines()) if lines.exists() else []
    lines.unlink(missing_ok=True)
    table = ["| area | what | cases | went wrong |", "|---|---|---:|---|"]
    table += [f"| {area} | {what} | {cases:,} | {wrong} |" for area, what, cases, wrong in rows]
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    table += [f"| skipped | {reason.removeprefix('Skipped: ')} | 0 | |" for reason in sorted(set(skipped))]
    terminalreporter.write_line("\n" + "\n".join(table))
    if exitstatus == 0 and rows:
        from elastic_lib.records.environment import _processor

        day, python = time.strftime("%Y-%m-%d"), platform.python_version()
        how = f"`make torture SEED={config.option.torture_seed}`, {day}, {_processor()}, {os.cpu_count()} cores"
        head = f"# What was tried, and how often it went wrong\n\n{how}, Python {python}."
        Path(config.option.torture).write_text("\n".join([head, "", *table, ""]))


# ---- several processes

SLOW = ["test_notebooks", "test_gallery", "test_answers_task", "test_jupyterlab", "test_callback_parallel"]
SLOW += ["test_run", "test_packaging", "test_wheel", "test_bench", "test_translation_task", "test_watch"]
SLOW += ["test_callback_trl", "test_bench_cost", "test_sandbox", "test_widgets", "test_docs"]
SLOW += ["test_callback_generation", "test_real_language", "test_hub", "test_landscape_pictures", "test_claims"]
SLOW += ["test_torture_files", "test_torture_inputs"]
DEALT_OUT = {"test_notebooks", "test_answers_task", "test_run", "test_packaging", "test_translation_task"}


def pytest_collection_modifyitems(items):
    """What takes long comes first, lest it is begun when all else is done."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay in one process, which makes their fixtures once; of `DEALT_OUT` the cases of each test do."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return nodeid.partition("[")[0] if Path(path).stem in DEALT_OUT else path

    config.option.loadscopereorder = False
    return ByFile(config, log)
