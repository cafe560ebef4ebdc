"""Notebook 03 in JupyterLab: the plain figure's slider is dragged, a point of the kernel's scrubber is clicked."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from browser import Page, needs_browser

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "03_pareto_frontiers.ipynb"
PARAMETERS = {"scale": '"smoke"', "seeds": "1", "methods": '["ppo", "elastic"]'}  # two methods: half the training
GRAPHS = "[...document.querySelectorAll('.js-plotly-plot')]"
PLAIN = f"{GRAPHS}.find(g => g._fullLayout?.sliders?.length)"
LIVE = f"{GRAPHS}.find(g => g.closest('.jupyter-widgets') && g._fullLayout)"
PANEL = "[...(window.jupyterapp?.shell.widgets('main') ?? [])].find(w => w.sessionContext)"


def notebook_for(folder: Path, results: Path) -> None:
    """The notebook as far as its two scrubbers."""
    book = json.loads(NOTEBOOK.read_text())
    live = next(i for i, cell in enumerate(book["cells"]) if "widgets.scrub(" in "".join(cell["source"]))
    book["cells"] = book["cells"][: live + 1]
    source = "".join(next(cell for cell in book["cells"] if cell["cell_type"] == "code")["source"])
    for name, value in {**PARAMETERS, "records": repr(str(results))}.items():
        source, changed = re.subn(rf"(?m)^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v}", source)
        assert changed == 1
    next(cell for cell in book["cells"] if cell["cell_type"] == "code")["source"] = source
    (folder / "book").mkdir()
    (folder / "book" / "frontier.ipynb").write_text(json.dumps(book))


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/status", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture
def lab(tmp_path, shared):
    """The address of a JupyterLab that knows nothing of the reader's own settings, and ends with its kernels."""
    notebook_for(tmp_path, shared)
    homes = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(tmp_path / name.lower()) for name in homes} | {"ELASTIC_FIGURES": str(tmp_path / "figures")}
    for name in homes:
        Path(own[name]).mkdir()
    # Every cell is on the page, not only those in sight; and nobody asks about news.
    for name, value in {"notebook-extension/tracker": {"windowingMode": "none"},
                        "apputils-extension/notification": {"fetchNews": "false"}}.items():  # fmt: skip
        path = tmp_path / f"jupyter_config_dir/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp.root_dir": tmp_path / "book", "ServerApp.ip": "127.0.0.1", "ServerApp.port": port,
        "ServerApp.port_retries": 0, "ServerApp.open_browser": False, "ServerApp.allow_root": True,
        "IdentityProvider.token": "", "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items())]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, env=os.environ | own, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while not answers(address):
            assert server.poll() is None and time.monotonic() < end, (tmp_path / "lab.log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        stop(address, server)


def stop(address: str, server: subprocess.Popen) -> None:
    """Ends the kernels, which live in groups of their own, then the server."""
    try:
        with urllib.request.urlopen(f"{address}/api/kernels", timeout=5) as reply:
            kernels = json.load(reply)
        for kernel in kernels:
            request = urllib.request.Request(f"{address}/api/kernels/{kernel['id']}", method="DELETE")
            urllib.request.urlopen(request, timeout=10).close()
    except OSError:
        pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        if server.poll() is None:
            os.killpg(server.pid, number)
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue


def middle(page, element):
    code = f"""(e => {{ e.scrollIntoView({{block: "center"}}); const r = e.getBoundingClientRect();
        return [r.left + r.width / 2, r.top + r.height / 2, r.left, r.right] }})({element})"""
    return page.js(code)


def steady(page, element):
    """Where the middle of an element is once the page has stopped moving it, with its left and right edge."""
    last, now = None, middle(page, element)
    while last is None or max(abs(a - b) for a, b in zip(last, now, strict=True)) > 0.5:
        page.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        last, now = now, middle(page, element)
    return now


def lines(page, graph):
    return page.js(f"[...{graph}.querySelectorAll('.scatterlayer path.js-line')].map(p => p.getAttribute('d')).join()")


@needs_browser
def test_the_notebook_runs_and_both_scrubbers_answer_to_the_mouse(lab):
    with Page(1440, 1000) as page:
        page.send("Emulation.setFocusEmulationEnabled", enabled=True)  # commands go to the notebook that has the focus
        page.go(f"{lab}/lab/tree/frontier.ipynb")
        page.until(f"!!{PANEL}?.sessionContext.session?.kernel", 90)
        page.js(f"window.jupyterapp.shell.activateById({PANEL}.id)")
        page.until(f"window.jupyterapp.shell.currentWidget === {PANEL}")
        page.js("window.ran = ''; window.jupyterapp.commands.execute('notebook:run-all-cells')"
                ".then(() => window.ran = 'done', e => window.ran = String(e)); 1")  # fmt: skip
        assert page.until("window.ran", 240) == "done"
        wrong = page.js("[...document.querySelectorAll('[data-mime-type=\"application/vnd.jupyter.error\"]')]"
                        ".map(e => e.textContent.slice(0, 600))")  # fmt: skip
        assert wrong == []
        drags_the_plain_figure(page)
        clicks_a_point_of_the_live_one(page)


def drags_the_plain_figure(page):
    still = "document.querySelector('.jp-RenderedPlotly img')"
    page.until(f"!!({PLAIN}) || !!{still}?.complete", 60)
    if not page.js(f"!!({PLAIN})"):  # JupyterLab shows a still of what it has drawn, which comes alive under the mouse
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
        x, _, _, _ = steady(page, still)
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=min(x, 900), y=500)
        page.until(f"!!({PLAIN})", 60)
    grip, rail = (f"{PLAIN}.querySelector('.{name}')" for name in ("slider-grip-rect", "slider-rail-touch-rect"))
    whole = lines(page, PLAIN)
    x, y, _, _ = steady(page, grip)
    _, _, left, right = middle(page, rail)
    page.drag((x, y), (left + 0.4 * (right - left), y))
    page.until(f"+{PLAIN}._fullLayout._currentFrame < Math.max(...{PLAIN}._transitionData._frames.map(f => +f.name))")
    assert lines(page, PLAIN) != whole
    page.picture("lab_plain_scrubber")


def clicks_a_point_of_the_live_one(page):
    page.until(f"!!{LIVE}", 60)
    modes = f"[...new Set({LIVE}._fullData.filter(t => t.visible === true).map(t => t.mode))].sort().join()"
    page.until(f"{modes} === 'lines,markers'", 60)
    point = f"[...{LIVE}.querySelectorAll('.scatterlayer path.point')].pop()"
    page.until(f"!!{point}", 60)
    x, y, _, _ = steady(page, point)
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x - 40, y=y - 40)
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.until(f"{LIVE}._hoverdata?.length > 0")
    _, seed, step, reset = page.js(f"{LIVE}._hoverdata[0].customdata.slice(0, 4)")
    page.click(x, y)
    heading = "[...document.querySelectorAll('.jupyter-widgets h4')].map(e => e.textContent).join()"
    page.until(f"{heading}.includes('seed {seed}')", 60)
    said = page.js("[...document.querySelectorAll('.jupyter-widgets h4')].pop().parentElement.textContent")
    assert ("right after the reset at" if reset else "after") + f" update {step}" in said and "before training" in said
    page.picture("lab_live_scrubber")
