"""The doctor: runs with the standard library alone, and every missing thing comes with the command that mends it."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

from elastic_lib.machine import doctor


def test_it_starts_where_nothing_is_installed():
    code = "import sys; sys.path.insert(0, sys.argv[1]); from elastic_lib.machine import doctor; print(doctor.main())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(doctor.ROOT)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "300"},
    )
    assert done.stdout.splitlines()[-1] == "1", done.stderr
    assert "torch (the method)" in done.stdout and "make venv, or pip install torch==2.13.0" in done.stdout


def test_what_is_missing_is_named_with_its_pin(monkeypatch):
    def gone(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", gone)
    missing = [finding for finding in doctor.findings() if finding.mend]
    assert any(f.what == "papermill (companion)" and "pip install papermill==" in f.mend for f in missing)


def test_another_version_is_said_and_breaks_nothing(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    found = next(finding for finding in doctor.findings() if finding.what == "torch (the method)")
    assert found.found == "0.0.1; the reference was made with 2.13.0" and not found.mend


def test_no_browser_is_no_reason_to_stop(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "browser", lambda: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.main() == 0
    assert "apt install chromium" in capsys.readouterr().out


def test_every_place_says_what_it_lacks_and_how_to_get_it(monkeypatch):
    has = doctor.version

    def some(name):
        if name in ("voila", "anywidget"):
            raise PackageNotFoundError(name)
        return has(name)

    monkeypatch.setattr(doctor, "version", some)
    places = {f.what.removeprefix("notebooks "): f for f in doctor.findings() if f.what.startswith("notebooks ")}
    assert set(places) == {"in JupyterLab", "in VS Code", "in batches", "as Voilà", "on Colab", "on Binder"}
    assert places["in JupyterLab"].mend == "pip install anywidget, then .venv/bin/jupyter lab"
    assert places["as Voilà"].found == "lacks voila, anywidget"
    assert not places["in batches"].mend and "papermill" in places["in batches"].found


def test_its_lines_fit_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "90")
    doctor.main()
    assert max(map(len, capsys.readouterr().out.splitlines()[:-1])) <= 90
