"""The site of `make site`: this file writes its pages from what is committed, and Sphinx makes HTML of them.

Nothing is executed. README, docs and executed notebooks are taken over, their links led to pages of the site or to the
repository; three notebooks also go, without outputs, to a JupyterLite that runs them in the reader's browser.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from html import escape
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
OWNER, NAME = urlsplit(REPOSITORY).path.strip("/").split("/")

PLOTLY, WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"
EXECUTED = {path.stem: path for path in sorted((ROOT / "papermill_runs/reference").glob("*/notebooks/*.ipynb"))}
LIVE = ("00_start_here", "01_elastic_reset", "03_pareto_frontiers")  # which need neither torch nor training

# Each section of the README goes to one page; an entry without sections is a file taken whole.
FRONT = ("", "What the abstract says, and what was found", "On a real language model")
FRONT += (
    "The Translation Game on real captions",
    "What the claims say there",
    "The three experiments in a paragraph each",
    "Where to go",
)
CALLBACK = "More on the callback: trainers, processes, adapters, what to watch"
PAGES = {
    "front": ("", FRONT),
    "use": ("In your own training", ("In your own training", CALLBACK, "The front, on one screen")),
    "reproduce": (
        "Make it again",
        ("Make it again", "The notebooks, and where they run", "Runs and records: the `elastic` command"),
    ),
    "limits": ("Honest limits", ("Honest limits",)),
    "speed": ("Speed", ("Speed",)),
    "house": ("The house", ("The house",)),
}
WHOLE = {"index": "docs/index.md", "callback": "docs/callback.md", "another_paper": "docs/another_paper.md"}
WHOLE |= {"changelog": "CHANGELOG.md"}
PAGE_OF = {"README.md": "index", "CITATION.cff": "cite", "figures/index.html": "figures"}
PAGE_OF |= {path: page for page, path in WHOLE.items()}
PAGE_OF |= {f"notebooks/{stem}.ipynb": f"notebooks/{stem}" for stem in EXECUTED}
PAGE_OF |= {str(path.relative_to(ROOT)): f"notebooks/{stem}" for stem, path in EXECUTED.items()}

# ---- what Sphinx reads

project, author, version = "Elastic Reset, reproduced", PROJECT["authors"][0]["name"], PROJECT["version"]
project_copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc"]
templates_path = ["."]
exclude_patterns = ["front.md"]  # index takes it in
html_theme = "sphinx_book_theme"
html_title = project
html_baseurl = f"https://{OWNER}.github.io/{NAME}/"
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "repository_url": REPOSITORY,
    "use_repository_button": True,
    "use_issues_button": True,
    "use_download_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search stands in the sidebar
}
html_context = {"default_mode": "auto"}
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
default_role = "code"
autodoc_member_order = "bysource"
autodoc_mock_imports = [name for name in ("torch", "safetensors") if not find_spec(name)]
if not find_spec("transformers"):  # a mock of a base class would hide what the callback takes
    played = type("Played", (ModuleType,), {"Trainer": object, "TrainerCallback": object, "has_length": len})
    sys.modules |= {name: played(name) for name in ("transformers", "transformers.trainer_utils")}
suppress_warnings = ["myst.header"]  # a notebook may go from its title to ###


def setup(app) -> None:
    """Writes the pages before Sphinx looks for them; adds gallery and JupyterLite to what it has made."""
    app.add_html_math_renderer("mathml", inline_renderers=(_formula, None), block_renderers=(_formula, None))
    write(Path(app.srcdir))
    app.connect("autodoc-process-docstring", _as_typed)
    app.connect("build-finished", _finish)


def _as_typed(app, what, name, obj, options, lines) -> None:
    """A class's docstring is laid out for reading in its file: what is indented is code, a name and its words a row."""
    if what == "class":
        rows = [re.fullmatch(r"(\w+) +(\S.*)", line) for line in lines]
        rows = [row if row and row.start(2) == 16 else None for row in rows]
        told = [f":param {row[1]}: {row[2]}" if row else line for row, line in zip(rows, lines, strict=True)]
        code = next((i for i, line in enumerate(told) if line.startswith("    ")), None)
        lines[:] = told if code is None else [*told[:code], "::", "", *told[code:]]


def _formula(translator, node) -> None:
    """MathML, which browsers draw by themselves."""
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    block = node.tagname == "math_block"
    drawn = convert(node.astext(), display="block" if block else "inline")
    translator.body.append(f'<div class="formula">{drawn}</div>' if block else drawn)
    raise SkipNode


def _finish(app, exception) -> None:
    if exception is None and app.builder.format == "html":
        from plotly.offline import get_plotlyjs

        out = Path(app.outdir)
        (out / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        (out / "figures.html").write_text(gallery(), encoding="utf-8")  # in the place of the words that search finds
        lite(out / "lite")


# ---- the pages


def write(folder: Path) -> None:
    """All pages, with the pictures that they show."""
    texts = {page: _of_readme(*about) for page, about in PAGES.items()}
    texts |= {page: led((ROOT / path).read_text(encoding="utf-8"), path) for page, path in WHOLE.items()}
    texts |= {"api": API, "cite": cite(), "figures": figures(), "live": live()}
    for page, text in texts.items():
        _put(folder / f"{page}.md", text)
    for stem, path in EXECUTED.items():
        _put(folder / "notebooks" / f"{stem}.ipynb", json.dumps(shown(path), ensure_ascii=False))
    for target in sorted({one for text in texts.values() for one in re.findall(r"!\[[^\]]*\]\(([^:)]+)\)", text)}):
        (folder / target).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / target, folder / target)


def _put(path: Path, text: str) -> None:
    """Written only where it differs, so that Sphinx makes no page twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def sections() -> dict[str, str]:
    """The README by its headings of the second rank, what is folded there unfolded."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^\[!\[.*\n", "", text).replace("</details>", "")
    fold = r"<details><summary><b>(.*?)</b>.*</summary>\n+(?:#+ .*\n)?"
    text = re.sub(fold, lambda told: f"## {re.sub('<[^>]+>', '`', told[1])}\n", text)
    parts = re.split(r"(?m)^## (.*)\n", text)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def _of_readme(title: str, names: tuple[str, ...]) -> str:
    parts = sections()
    heads = {name: "" if name in ("", title) else f"## {name}\n" for name in names}
    text = "\n".join(heads[name] + parts[name].strip("\n") + "\n" for name in names)
    return led(f"# {title}\n\n{text}" if title else text, "README.md")


def led(text: str, path: str) -> str:
    """Markdown of a file of the repository, its links led to pages of the site, or else to the repository."""

    def lead(found: re.Match) -> str:
        if not found["to"]:
            return found[0]  # code
        return f"{found['words']}({_target(found['to'], path, bool(found['image']))})"

    return re.sub(r"(?s)```.*?```|`[^`\n]+`|(?P<words>(?P<image>!?)\[[^\]]*\])\((?P<to>[^)\s]+)\)", lead, text)


def _target(to: str, path: str, image: bool) -> str:
    if re.match(r"https?:|mailto:", to):
        return to
    place, _, anchor = to.partition("#")
    if not place:
        return _section(anchor) if path == "README.md" else to
    at = os.path.normpath(os.path.join(os.path.dirname(path), place))
    if image:
        return at
    if at not in PAGE_OF:
        return f"{REPOSITORY}/{'tree' if (ROOT / at).is_dir() else 'blob'}/main/{at}"
    here = "notebooks" if path.startswith("notebooks/") else "."
    page = PAGE_OF[at]
    suffix = ".ipynb" if page.startswith("notebooks/") else ".md"
    return os.path.relpath(page, here) + suffix + (f"#{anchor}" if anchor else "")


def _section(anchor: str) -> str:
    """Where a section of the README is on the site."""
    if anchor == "cite":
        return "cite.md"
    for page, (title, names) in PAGES.items():
        for name in names:
            if re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") == anchor:
                page = "index" if page == "front" else page
                return f"{page}.md" if name == title else f"{page}.md#{anchor}"
    raise ValueError(f"the README leads to #{anchor}, which is no section of it")


# ---- notebooks


def read(path: Path) -> dict:
    """A notebook, without what is no JSON to a browser."""
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)


def shown(path: Path) -> dict:
    """An executed notebook as a page: figures alive, what fetches the project folded, badges as words."""
    book = read(path)
    book["metadata"].pop("widgets", None)
    for cell in book["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = re.sub(r"(?m)^\[!\[.*\n+", f"{_ways(path.stem)}\n\n", text)
            text = re.sub(r"\]\(\.\./\.\./\w+/notebooks/", "](", text)  # on the site all lie in one folder
            cell["source"] = re.sub(r"\A# ", f"# {path.stem[:2]} ", led(text, f"notebooks/{path.name}"))
            continue
        if "find_spec" in text:
            cell["metadata"]["tags"] = ["hide-input"]
        for output in cell["outputs"]:
            if "data" in output:
                output["data"] = _alive(output["data"])
    return book


def _ways(stem: str) -> str:
    """Other ways to this notebook."""
    source = urlsplit(REPOSITORY).path.strip("/") + f"/blob/main/notebooks/{stem}.ipynb"
    ways = [f"[Colab](https://colab.research.google.com/github/{source})", f"[source](https://github.com/{source})"]
    if stem in LIVE:
        ways.insert(0, f'<a href="../lite/notebooks/index.html?path={stem}.ipynb">▶ run it in this browser</a>')
    return f"*As it was executed.* {' · '.join(ways)}"


def _alive(data: dict) -> dict:
    """A figure that plotly draws when it comes into sight, and its still picture until then."""
    words = escape("".join(data.get("text/plain", "")), quote=True)
    picture = f'<img loading="lazy" alt="{words}" src="data:image/png;base64,{data.get("image/png", "").strip()}">'
    if PLOTLY in data:
        plot = {part: data[PLOTLY][part] for part in ("data", "layout", "frames") if part in data[PLOTLY]}
        content = json.dumps(plot, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        stored = f'<script type="application/json">{content}</script>'
        return {"text/html": f'<div class="drawn"><div>{picture}</div>{stored}</div>'}
    if "image/png" in data:  # a widget, which needs a kernel
        return {"text/html": f'<div class="drawn"><div>{picture}</div></div>'}
    return {kind: content for kind, content in data.items() if kind != WIDGET}  # with the words in its place


FETCHED = """import piplite

# Wheels that came with this page, pandas and pyarrow of Pyodide; no torch: nothing is trained here.
await piplite.install(["numpy", "pandas", "pyarrow", "plotly", "ipywidgets", "anywidget"])
await piplite.install("elastic-reset-companion", deps=False)  # with the records of the reference
"""


def playable(stem: str) -> dict:
    """A notebook for JupyterLite: it reads the reference that lies beside the library, and fetches nothing else."""
    book = read(ROOT / "notebooks" / f"{stem}.ipynb")
    for cell in book["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            elsewhere = rf"\]\((?!{'|'.join(LIVE)})(\d\d_\w+)\.ipynb\)"
            text = re.sub(elsewhere, rf"]({html_baseurl}notebooks/\1.html)", text)
            cell["source"] = re.sub(r"(?m)^\[!\[.*\n+", "", text)
            continue
        text = re.sub(r'(?m)^records = "auto".*$', 'records = "reference"  # the runs that came with this page', text)
        if "find_spec" in text:
            text = FETCHED + text[text.index("\n\nfrom elastic_lib") + 1 :]
        cell["source"] = text
    return book


# ---- pages that are made of other things

API = """# The interface

What one imports into one's own work: the losses and `ElasticReset` need torch alone, [the callback](callback.md)
transformers too. [In your own training](use.md) has both at work.

```{eval-rst}
.. autoclass:: elastic_lib.reset.ElasticReset
   :members:
.. autoclass:: elastic_lib.callback.ElasticResetCallback
.. autofunction:: elastic_lib.decay.decay_for
.. autoclass:: elastic_lib.reset.Every
.. autoclass:: elastic_lib.reset.At
.. autoclass:: elastic_lib.reset.Adaptive
```

## `elastic_lib.losses`

```{eval-rst}
.. automodule:: elastic_lib.losses
   :members:
```

## `elastic_lib.pareto`

```{eval-rst}
.. automodule:: elastic_lib.pareto
   :members:
```
"""


def cite() -> str:
    """CITATION.cff in words and as BibTeX."""
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    told = f"# How to cite\n\n{citation['message']}\n\n## The paper\n\n```bibtex\n{bibtex(citation)}\n```\n"
    software = f"{citation['authors'][0]['name']}. *{citation['title']}*, version {citation['version']}."
    return f"{told}\n## This software\n\n{software} <{citation['repository-code']}>\n\n{citation['abstract']}\n"


def bibtex(citation: dict) -> str:
    """The paper of a CITATION.cff."""
    paper = citation["preferred-citation"]
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    fields = {"title": paper["title"], "author": " and ".join(names), "booktitle": paper["collection-title"]}
    lines = [f"  {name:9} = {{{value}}}" for name, value in (fields | {"year": paper["year"]}).items()]
    key = f"{paper['authors'][0]['family-names'].lower()}{paper['year']}"
    return "\n".join([f"@inproceedings{{{key},", ",\n".join(lines), "}"])


def figures() -> str:
    """The words of the gallery for contents and search; the gallery itself takes this page's place."""
    words = ["# Figures and verdicts"]
    for path in EXECUTED.values():
        for output in (output for cell in read(path)["cells"] for output in cell.get("outputs", [])):
            data = output.get("data", {})
            if PLOTLY in data:
                title = data[PLOTLY].get("layout", {}).get("title") or {}
                title = title.get("text", "") if isinstance(title, dict) else title
                words.append(re.sub(r"[`*_<>\[\]$]", " ", f"{title}. {''.join(data.get('text/plain', ''))}"))
    return "\n\n".join(words) + "\n"


def gallery() -> str:
    """The committed gallery, its links led to this site and to the repository, with a way back."""
    text = (ROOT / "figures" / "index.html").read_text(encoding="utf-8")

    def lead(found: re.Match) -> str:
        at = os.path.normpath(os.path.join("figures", found[1]))
        page = "" if at.startswith("notebooks/") else PAGE_OF.get(at)
        return f'href="{page}.html"' if page else f'href="{REPOSITORY}/blob/main/{at}"'

    text = re.sub(r'href="(\.\./[^"]+)"', lead, text)
    opening = '<nav aria-label="Sections">'
    back = '<a href="index.html" style="white-space: nowrap; padding: .5rem .6rem">← The site</a>'
    return text.replace(opening, opening + back, 1)


def live() -> str:
    """What runs in the reader's browser, and what that needs."""
    titles = {stem: re.search(r"^# (.+)", "".join(read(EXECUTED[stem])["cells"][0]["source"]))[1] for stem in LIVE}
    links = "\n".join(
        f'- <a href="lite/notebooks/index.html?path={stem}.ipynb">{stem[:2]} {title}</a>'
        for stem, title in titles.items()
    )
    return f"""# Run it in your browser

Three of the notebooks run here, in this site's own JupyterLite, with sliders, widgets and the records of every run
behind them. Nothing is installed, and nothing leaves your computer.

{links}
- <a href="lite/lab/index.html">all of them in JupyterLab</a>

**What it needs.** A network: Python itself (Pyodide, with numpy, pandas and pyarrow) comes from its own server,
cdn.jsdelivr.net, some tens of megabytes the first time, which takes half a minute or more. All else comes with this
site. *Run → Run All Cells* begins; what you change stays in your browser's storage.

**What it does not do.** There is no torch in a browser, so nothing is trained here. The other notebooks are shown
[as they were executed](notebooks/02_translation_game.ipynb), and run on Colab, Binder or
[your own machine](reproduce.md).

**Without a network** every other page of this site reads as it is, figures and search included, from a copy of it on a
disk too: `make site` makes one.
"""


# ---- JupyterLite


def lite(out: Path) -> None:
    """Builds a JupyterLite of the playable notebooks; Pyodide alone comes from elsewhere, when it is used."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for stem in LIVE:
            _put(work / "contents" / f"{stem}.ipynb", json.dumps(playable(stem), ensure_ascii=False))
        wheels = [wheel(work), *sorted(Path(sys.prefix, "wheels").glob("*.whl"))]
        command = [sys.executable, "-m", "jupyterlite_core", "build", "--contents", "contents", "--output-dir", out]
        command += [part for path in wheels for part in ("--piplite-wheels", path)]
        command += [part for name in ("lab", "notebooks", "tree", "edit") for part in ("--apps", name)]
        command += ["--no-sourcemaps", "--no-unused-shared-packages"]
        done = subprocess.run(list(map(str, command)), cwd=work, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"JupyterLite could not be built: {done.stderr[-2000:]}")


def wheel(work: Path) -> Path:
    """The project's own wheel, with the tables of the reference where an installed library looks for them."""
    source = work / "source"
    shutil.copytree(ROOT / "elastic_lib", source / "elastic_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", work, source]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *build], check=True)
    (made,) = work.glob("*.whl")
    with zipfile.ZipFile(made) as packed:
        content = {name: packed.read(name) for name in packed.namelist()}
    listed = next(name for name in content if name.endswith("/RECORD"))
    for path in sorted((ROOT / "papermill_runs/reference").glob("*/*")):
        if path.suffix == ".parquet" or path.name == "SHA256SUMS":
            name = str(path.relative_to(ROOT))
            content[name] = path.read_bytes()
            content[listed] += f"{name},,\n".encode()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, held in content.items():
            packed.writestr(name, held)
    return made
