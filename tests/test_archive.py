"""`elastic export` and `elastic import`: results go to another machine whole, or not at all."""

import shutil
import zipfile

import pytest

from elastic_lib.cli import main
from elastic_lib.evidence import Evidence
from elastic_lib.records import archive
from elastic_lib.records.record import others_results, reference_results, whose
from elastic_lib.records.tables import packed

TUNING = reference_results("tuning")  # the smaller of the two


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return archive.export(TUNING, tmp_path_factory.mktemp("sent") / "elsewhere.zip")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "others_results", lambda name, scale: tmp_path / "from" / name / scale)
    return tmp_path / "from"


def test_what_is_taken_in_is_what_was_sent_and_has_a_name(exported, folder, capsys):
    assert main(["import", str(exported), "--as", "cluster", "--scale", "pocket"]) == 0
    assert "elastic claims --scale pocket --results" in capsys.readouterr().out
    there, here = packed(folder / "cluster" / "pocket")[0], packed(TUNING)[0]
    assert {run: record.files() for run, record in there.items()} == {run: r.files() for run, r in here.items()}
    assert main(["import", str(exported), "--as", "cluster", "--scale", "pocket"]) == 1  # nothing is written over
    assert "import under another name" in capsys.readouterr().err
    assert main(["import", str(exported), "--as", "paper", "--scale", "paper"]) == 1
    assert not (folder / "paper" / "paper").exists()
    assert "holds runs of lab, pocket, none of paper: add --scale lab" in capsys.readouterr().err


def test_runs_of_another_machine_are_called_by_its_name(monkeypatch):
    evidence = Evidence("sentiment", "pocket", [reference_results("pocket")])
    label = evidence.label("elastic")
    assert evidence.owner(label) == "the reference"
    evidence.source[label] = others_results("cluster", "pocket")
    assert evidence.owner(label) == "cluster"
    evidence.source[label] = others_results("x", "pocket").parents[2] / "pocket"
    assert evidence.owner(label) == "your own runs"


def test_they_go_where_your_own_go(monkeypatch, tmp_path):
    monkeypatch.setenv("ELASTIC_RESULTS", str(tmp_path))
    assert others_results("cluster", "pocket") == tmp_path / "from" / "cluster" / "pocket"
    assert (
        whose(tmp_path / "from" / "cluster" / "pocket") == "cluster" and whose(tmp_path / "pocket") == "your own runs"
    )


def changed(exported, path, change):
    """The archive with its files changed by `change`, a function of name and content."""
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            for said, content in change(name, old.read(name)):
                new.writestr(said, content)
    return path


def flipped(name, content):
    middle = len(content) // 2
    return [(name, content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])]


@pytest.mark.parametrize("change, says", [
    (lambda name, content: [(f"../{name}", content)], "is no export of ours"),
    (lambda name, content: [(name, content), (f"more/{name}", b"")], "is no export of ours"),
    (lambda name, content: [(name, content)] * (name != "paths.parquet"), "is no export of ours, for paths.parquet"),
    (lambda name, content: flipped(name, content) if name == "curves.parquet" else [(name, content)],
     "curves.parquet is not what SHA256SUMS says"),
])  # fmt: skip
def test_what_is_not_an_export_is_refused_and_leaves_nothing(exported, folder, tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        archive.take_in(changed(exported, tmp_path / "x.zip", change), "x", "pocket")
    assert not [path for path in folder.rglob("*") if path.suffix != ".lock" and path.is_file()]


def test_a_cut_archive_and_odd_names_are_refused(exported, tmp_path):
    cut = tmp_path / "cut.zip"
    shutil.copyfile(exported, cut)
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size // 2)
    with pytest.raises(ValueError, match="is damaged"):
        archive.take_in(cut, "x", "pocket")
    for name in ("../x", "", ".x", "a/b"):
        with pytest.raises(ValueError, match="a machine's name is"):
            archive.take_in(exported, name, "pocket")
    with pytest.raises(FileNotFoundError, match="is not there"):
        archive.take_in(tmp_path / "none.zip", "x", "pocket")


def test_export_packs_loose_records_first(tmp_path, capsys):
    out = tmp_path / "mine.zip"
    assert main(["export", "--results", str(TUNING), "--to", str(out)]) == 0
    assert str(out) in capsys.readouterr().out and sorted(zipfile.ZipFile(out).namelist()) == sorted(archive.NAMES)
