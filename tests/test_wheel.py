"""The wheel where there is nothing but torch and safetensors, and where the extra `trl` has been added."""

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import elastic_lib

ROOT = Path(__file__).parents[1]
HERE = Path(sysconfig.get_path("purelib"))


def needs(name: str, extra: str = "") -> set[str]:
    """A distribution, the names of all that it needs, and of all that these need, as far as they are here."""
    found, ahead = set(), [(name, extra)]
    while ahead:
        name, extra = ahead.pop()
        if name in found and not extra:
            continue
        try:
            lines = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # CUDA's, say, which this torch does without
        found.add(name)
        for line in map(Requirement, lines):
            if line.marker is None or line.marker.evaluate({"extra": extra}):
                ahead += [(line.name, one) for one in line.extras or {""}]
    return found


class Bare:
    """An environment that holds what it is given, by links to what is installed here."""

    def __init__(self, folder: Path):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))

    def add(self, names: set[str]) -> None:
        for name in names:
            for top in {Path(file).parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
                if not (self.site / top).exists():
                    (self.site / top).symlink_to(HERE / top)

    def run(self, code: str) -> str:
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, cwd=self.site.parents[2])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def elastic(self, *words: str) -> subprocess.CompletedProcess:
        command = [self.python, "-m", "elastic_lib.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.site.parents[2])


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Bare:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    shutil.copytree(ROOT / "elastic_lib", source / "elastic_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    place = Bare(folder / "bare")
    install = ["install", "--no-deps", "--no-index", "--no-compile", "--target", place.site, wheel]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    place.add(needs("torch") | needs("safetensors"))
    return place


def test_with_torch_alone_a_model_is_averaged_and_reset(bare):
    said = bare.run("""
from importlib.util import find_spec
assert not [name for name in ("numpy", "pandas", "transformers", "plotly", "pyarrow") if find_spec(name)]
import elastic_lib, torch
from elastic_lib import ElasticReset, decay_for
model = torch.nn.Linear(3, 2)
before = [p.detach().clone() for p in model.parameters()]
er = ElasticReset(model.parameters(), decay=decay_for(left=0.5, moves=2), reset_every=2)
for _ in range(2):
    with torch.no_grad():
        [p.add_(1) for p in model.parameters()]
    er.update()
    done = er.tick()
far = decay_for(left=0.5, moves=2)
expected = far * (1 - far) + 2 * (1 - far)  # by hand: θ̄ after steps at 1 and at 2
assert done and all(torch.allclose(p, b + expected) for p, b in zip(model.parameters(), before))
assert er.distances().ema_init == 0
print(elastic_lib.__file__)
""")
    assert str(bare.site) in said


def test_it_holds_the_page_and_no_tests(bare):
    assert (bare.site / "elastic_lib" / "notebook" / "gallery.html").exists()
    assert not (bare.site / "tests").exists()


def test_without_the_companion_a_command_names_the_extra(bare):
    assert bare.elastic("--help").returncode == 0
    for words in (["claims"], ["run", "sentiment", "ppo", "--scale", "smoke"], ["gallery"], ["watch"]):
        done = bare.elastic(*words)
        assert done.returncode == 1 and "elastic-reset-companion[companion]" in done.stderr, (words, done.stderr)
        assert len(done.stderr.splitlines()) == 1
    assert "pandas (companion)" in bare.elastic("doctor").stdout


def test_with_the_extra_trl_the_callback_is_there(bare):
    bare.add(needs("elastic-reset-companion", "trl") - {"elastic-reset-companion"})
    assert "ElasticResetCallback" in bare.run(
        "from elastic_lib import ElasticResetCallback; print(ElasticResetCallback(decay=0.5, reset_every=3))"
    )


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["version"] == elastic_lib.__version__
    paper = citation["preferred-citation"]
    names = [author["family-names"] for author in paper["authors"]]
    assert paper["title"] == "Language Model Alignment with Elastic Reset" and paper["year"] == 2023
    assert names == ["Noukhovitch", "Lavoie", "Strub", "Courville"]
    assert citation["repository-code"] in (ROOT / "pyproject.toml").read_text()
