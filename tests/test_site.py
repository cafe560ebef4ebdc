"""The site: every page of its contents is there, what it runs in a browser needs no torch, and all of it reads well.

What needs Sphinx is tested where `make site` has made its environment; the rest always.
"""

import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import yaml
from browser import Page, needs_browser
from test_wheel import Bare, needs

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in PROJECT["optional-dependencies"]["site"] if "==" in line)
SITE = ROOT / ".venv-site" / "bin" / "python"
needs_site = pytest.mark.skipif(
    not (ROOT / ".venv-site" / "complete").exists(), reason="the extra `site` is not installed here: make site does it"
)


@pytest.fixture(scope="module")
def conf():
    spec = importlib.util.spec_from_file_location("site_conf", ROOT / "docs" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    kept = [*sys.path]
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


@pytest.fixture(scope="module")
def pages(conf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    conf.write(folder)
    return folder


# ---- without Sphinx


def test_the_contents_hold_every_page_and_no_other(pages):
    toctrees = re.findall(r"```\{toctree\}\n(.*?)```", (pages / "index.md").read_text(), re.S)
    listed = [line for tree in toctrees for line in tree.split("\n") if line and not line.startswith(":")]
    written = [path for path in pages.rglob("*") if path.suffix in (".md", ".ipynb")]
    written = {str(path.relative_to(pages).with_suffix("")) for path in written}
    assert sorted(listed) == sorted(written - {"index", "front"})


def test_links_between_pages_lead_somewhere(pages):
    seen = 0
    for path in [*pages.glob("*.md"), *pages.glob("notebooks/*.ipynb")]:
        text = path.read_text()
        if path.suffix == ".ipynb":
            cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
            text = "\n".join("".join(cell["source"]) for cell in cells)
        text = re.sub(r"(?s)```.*?```|`[^`\n]+`", "", text)
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (path.parent / target).exists(), (path.name, target)
            seen += 1
    assert seen > 50


def test_each_section_of_the_readme_is_on_one_page(conf):
    taken = [name for _, names in conf.PAGES.values() for name in names]
    assert sorted(taken) == sorted(set(conf.sections()) - {"Cite"})  # which CITATION.cff says


def test_links_of_the_front_lead_to_pages_or_to_the_repository(conf):
    def led(words):
        return conf.led(words, "README.md")

    assert led("[a](notebooks/01_elastic_reset.ipynb)") == "[a](notebooks/01_elastic_reset.ipynb)"
    assert led("[a](papermill_runs/reference/lab/notebooks/10_real_language.ipynb)") == (
        "[a](notebooks/10_real_language.ipynb)"
    )
    assert led("[a](docs/callback.md#x) ![b](figures/c.png)") == "[a](callback.md#x) ![b](figures/c.png)"
    assert led("[a](elastic_lib/reset.py)") == f"[a]({conf.REPOSITORY}/blob/main/elastic_lib/reset.py)"
    assert led("[a](#in-your-own-training) `[a](b)`") == "[a](use.md) `[a](b)`"
    assert conf.led("[a](callback.md)", "docs/another_paper.md") == "[a](callback.md)"
    with pytest.raises(ValueError, match="no section"):
        led("[a](#nowhere)")


def test_the_citation_is_written_once(conf):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert re.search(r"```bibtex\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S)[1] == conf.bibtex(citation)
    assert conf.bibtex(citation) in conf.cite()


def test_versions_are_pinned_in_one_place_and_nobody_else_gets_them():
    assert PINS["jupyterlite-core"] == PINS["jupyterlite-pyodide-kernel"]
    lock = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
    assert not {"sphinx", "myst-nb", "sphinx-book-theme", "jupyterlite-core"} & {name.lower() for name in lock}
    same = PINS.keys() & {name.lower().replace("_", "-") for name in lock}
    named = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    assert same >= {"plotly", "ipywidgets", "anywidget"} and all(PINS[name] == named[name] for name in same)
    plain = re.search(r"^PLAIN := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split("|")
    assert set(plain) <= set(PINS)


def test_the_address_stands_in_one_place_and_a_fork_moves_it(conf, tmp_path):
    assert conf.html_baseurl in (ROOT / "README.md").read_text()
    for name in ("Makefile", "pyproject.toml", "README.md", "CITATION.cff", "docs/conf.py", "docs/index.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    subprocess.run(["make", "-s", "-C", tmp_path, "address", "REPOSITORY=some-body/a.fork"], check=True)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        text = path.read_text()
        assert f"{conf.OWNER}/{conf.NAME}" not in text and f"{conf.OWNER}.github.io" not in text, path
    assert "https://some-body.github.io/a.fork/" in (tmp_path / "README.md").read_text()


def test_the_workflow_publishes_what_make_makes():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w/-]+@v\d+\.\d+\.\d+", step["uses"]) for step in steps if "uses" in step)
    assert {"run": "make site"} in steps and workflow["permissions"] == {"contents": "read"}
    (path,) = (step["with"]["path"] for step in steps if "upload" in step.get("uses", ""))
    told = subprocess.run(["make", "-n", "-C", ROOT, "site"], capture_output=True, text=True, check=True).stdout
    assert f"build/site/pages {path}" in told


PLAYED = """
import json, sys, types
from IPython.core.interactiveshell import InteractiveShell
sys.modules["resource"] = None  # as in Pyodide
asked = []
async def install(names, deps=True):
    asked.extend([names] if isinstance(names, str) else names)
sys.modules["piplite"] = types.ModuleType("piplite")
sys.modules["piplite"].install = install
for path in sys.argv[1:]:
    shell = InteractiveShell()
    for cell in json.load(open(path))["cells"]:
        if cell["cell_type"] == "code":
            shell.run_cell("".join(cell["source"])).raise_error()
assert "torch" not in sys.modules
import elastic_lib
print("\\nasked", *sorted(set(asked)), elastic_lib.__file__)
"""


def test_the_live_notebooks_run_with_the_wheel_and_without_torch(conf, tmp_path):
    """With what the page fetches, and IPython, which is in every such kernel: nothing else is there."""
    place = Bare(tmp_path / "bare")
    install = ["install", "--no-deps", "--no-index", "--no-compile", "--target", place.site, conf.wheel(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *install], check=True)
    fetched = json.loads(re.search(r"install\((\[.*\])\)", conf.FETCHED)[1])
    place.add(set.union(*(needs(name) for name in (*fetched, "ipython"))))
    books = [tmp_path / f"{stem}.ipynb" for stem in conf.LIVE]
    for book in books:
        book.write_text(json.dumps(conf.playable(book.stem)))
    (tmp_path / "played.py").write_text(PLAYED)
    command = [place.python, tmp_path / "played.py", *books]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    asked = done.stdout.splitlines()[-1].split()
    assert asked[1:-1] == sorted([*fetched, "elastic-reset-companion"]) and str(place.site) in asked[-1]


# ---- built, in a browser

KINDS = ("index", "figures", "live", "use", "api", "cite", "reproduce", "callback", "notebooks/01_elastic_reset")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The site on a server of this machine, made from nothing."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "pages").mkdir()
    command = [SITE, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", ROOT / "docs", folder / "pages", folder / "html"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    serve = functools.partial(Quiet, directory=folder / "html")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def page(address):
    with Page() as page:
        yield page


# Words too faint on what is behind them; a figure's own are looked at on the gallery's page.
FAINT = """(() => {
    const parts = text => text.match(/[\\d.]+/g).map(Number), over = ([r, g, b, a = 1], under) =>
        [r, g, b].map((one, i) => one * a + under[i] * (1 - a));
    const light = rgb => rgb.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const ground = e => e ? over(parts(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255];
    const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || e.closest('svg, script, style, noscript, .headerlink')
            || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        const back = ground(e), [a, b] = [light(over(parts(getComputedStyle(e).color), back)), light(back)];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${walker.currentNode.textContent.trim().slice(0, 40)}`);
    }
    return [...new Set(faint)];
})()"""
# Words that reach beyond the window where nothing scrolls.
CLIPPED = """[...document.querySelectorAll('main :is(h1, h2, h3, p, li, dt, dd, code, a)')].filter(e =>
    e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1
    && !e.closest('pre, table, .cell_output, .headerlink, svg, nav')).map(e => e.textContent.slice(0, 40))"""
ELSEWHERE = """performance.getEntriesByType('resource').map(one => one.name)
    .filter(name => !name.startsWith(location.origin) && !/^(data|blob):/.test(name))"""


@needs_site
@needs_browser
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fits_reads_and_loads_nothing_from_elsewhere(page, address, kind):
    wrong = {}
    for theme in ("light", "dark"):
        page.errors.clear()
        page.go(f"{address}/{kind}.html")
        page.js(f"localStorage.setItem('mode', '{theme}'), localStorage.setItem('theme', '{theme}')")
        page.go(f"{address}/{kind}.html")
        for width in (390, 768, 1440):
            page.resize(width, 900)
            if (beyond := page.js("document.documentElement.scrollWidth - innerWidth")) > 0:
                wrong[theme, width] = f"{beyond} pixels too wide"
            if clipped := page.js(CLIPPED):
                wrong[theme, width, "clipped"] = clipped
        for what, found in (("faint", page.js(FAINT)), ("elsewhere", page.js(ELSEWHERE)), ("said", page.errors)):
            if found:
                wrong[theme, what] = [*found]
        page.picture(f"site_{kind.replace('/', '_')}_{theme}")
    assert not wrong


@needs_site
@needs_browser
def test_search_finds_a_word_and_leads_to_its_page(page, address):
    page.go(f"{address}/search.html?q=hypervolume")
    page.until("document.querySelectorAll('#search-results li a').length > 2", 30)
    found = page.js("[...document.querySelectorAll('#search-results li a')].map(a => a.getAttribute('href'))")
    assert any("03_pareto_frontiers" in href for href in found)


@needs_site
@needs_browser
@pytest.mark.parametrize("where", ["figures.html", "notebooks/03_pareto_frontiers.html"])
def test_a_slider_moves_its_figure(page, address, where):
    page.resize(768, 900)
    page.go(f"{address}/{where}")
    scrubber = "document.querySelector('.slider-grip-rect')"
    places = "[...document.querySelectorAll('.card, .drawn')]"
    for i in range(page.js(f"{places}.length")):  # which are drawn when they come into sight
        page.js(f"{places}[{i}].scrollIntoView({{block: 'center', behavior: 'instant'}})")
        page.until(f"!!{places}[{i}].querySelector('.main-svg') || !{places}[{i}].querySelector('script')")
        if page.js(f"!!{scrubber}"):
            break
    curves = f"""[...{scrubber}.closest('.js-plotly-plot').querySelectorAll('.scatterlayer path.js-line')]
        .map(p => p.getAttribute('d')).join()"""
    before, grip = page.js(curves), page.place(".slider-grip-rect")
    rail = page.js("document.querySelector('.slider-rail-rect').getBoundingClientRect().width")
    page.drag(grip, (grip[0] - 0.6 * rail, grip[1]))
    page.until(f"{curves} !== {json.dumps(before)}")


@needs_site
@needs_browser
def test_jupyterlite_starts_and_lists_the_notebooks(page, address, conf):
    page.resize(1440, 900)
    page.go(f"{address}/lite/lab/index.html")
    names = "[...document.querySelectorAll('.jp-DirListing-itemText')].map(e => e.textContent.trim())"
    page.until(f"{names}.length === {len(conf.LIVE)}")
    assert sorted(page.js(names)) == [f"{stem}.ipynb" for stem in conf.LIVE]
    listed = page.js(f"fetch('{address}/lite/pypi/all.json').then(reply => reply.json())")
    assert {"elastic-reset-companion", "plotly", "ipywidgets", "anywidget", "psygnal", "comm"} <= set(listed)
