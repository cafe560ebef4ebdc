"""Still pictures: taken beside the notebook, handed on in order, and never at the cost of the notebook."""

import threading

import plotly.graph_objects as go
import pytest

from elastic_lib.notebook import pictures as stills


@pytest.fixture
def studio(monkeypatch, tmp_path):
    """A camera that is there, and a photographer who waits until he is let go."""
    go_on, seen = threading.Event(), []

    def calc(figure, opts):
        assert go_on.wait(10)
        seen.append((sorted(figure), opts["height"]))
        if figure["layout"]["title"]["text"] == "broken":
            raise RuntimeError("the browser is gone")
        return figure["layout"]["title"]["text"].encode()

    import kaleido

    monkeypatch.setattr(kaleido, "calc_fig_sync", calc)
    monkeypatch.setattr(stills, "camera", lambda: True)
    monkeypatch.setenv("ELASTIC_FIGURES", str(tmp_path / "figures"))
    yield go_on, seen, tmp_path / "figures"
    go_on.set()
    stills.develop(wait=True)


def titled(text):
    return go.Figure(layout=dict(title=text, height=321), frames=[go.Frame(name="1")])


def test_pictures_are_handed_on_in_order_when_they_are_there(studio, capsys):
    go_on, seen, folder = studio
    shown = []
    for text in ("one", "broken", "two"):
        stills.take(titled(text), f"figure_{text}", shown.append)
    stills.develop()
    assert not shown  # nobody waited
    go_on.set()
    stills.develop(wait=True)
    assert shown == [b"one", b"two"] and seen == [(["data", "layout"], 321)] * 3  # without the frames
    assert sorted(path.name for path in folder.iterdir()) == ["figure_one.png", "figure_two.png"]
    assert "no still picture of figure_broken: RuntimeError: the browser is gone" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_costs_the_picture_alone(studio, tmp_path, capsys):
    go_on, _, folder = studio
    folder.write_text("a file is in the way")
    go_on.set()
    stills.take(titled("one"), "figure_one", pytest.fail)
    stills.develop(wait=True)
    assert "no still picture of figure_one" in capsys.readouterr().out


def test_no_pictures_where_figures_are_alive_or_no_browser_is(monkeypatch, capsys):
    monkeypatch.setattr(stills.shutil, "which", lambda name: None)
    stills.camera.cache_clear()
    assert not stills.camera() and "apt install chromium" in capsys.readouterr().out
    stills.camera.cache_clear()
    monkeypatch.setenv("JPY_SESSION_NAME", "/a/notebook.ipynb")
    assert not stills.camera() and not capsys.readouterr().out
    stills.take(titled("one"), "figure_one", pytest.fail)
    stills.develop(wait=True)
    stills.camera.cache_clear()
