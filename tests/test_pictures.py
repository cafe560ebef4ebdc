"""Still pictures: taken beside the notebook, handed on in order, and never at the cost of the notebook."""

import io
import threading

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from elastic_lib.figures.style import COLORS
from elastic_lib.notebook import pictures


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
    monkeypatch.setattr(pictures, "camera", lambda: True)
    monkeypatch.setattr(pictures, "_fewer_colours", lambda picture: picture)
    monkeypatch.setenv("ELASTIC_FIGURES", str(tmp_path / "figures"))
    yield go_on, seen, tmp_path / "figures"
    go_on.set()
    pictures.develop(wait=True)


def titled(text):
    frames = [go.Frame(name="1")] if text == "film" else []
    return go.Figure(layout=dict(title=text, height=321), frames=frames)


def test_pictures_are_handed_on_in_order_when_they_are_there(studio, capsys):
    go_on, seen, folder = studio
    shown = []
    for text in ("one", "broken", "two", "film"):
        pictures.take(titled(text), f"figure_{text}", shown.append)
    pictures.develop()
    assert not shown  # nobody waited
    go_on.set()
    pictures.develop(wait=True)
    assert shown == [b"one", b"two", b"film"] and seen == [(["data", "layout"], 321)] * 4  # without the frames
    assert sorted(path.name for path in folder.iterdir()) == ["figure_one.png", "figure_two.png"]  # and no film
    assert "no still picture of figure_broken: RuntimeError: the browser is gone" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_costs_the_picture_alone(studio, tmp_path, capsys):
    go_on, _, folder = studio
    folder.write_text("a file is in the way")
    go_on.set()
    pictures.take(titled("one"), "figure_one", pytest.fail)
    pictures.develop(wait=True)
    assert "no still picture of figure_one" in capsys.readouterr().out


def test_no_pictures_where_figures_are_alive_or_no_browser_is(monkeypatch, capsys):
    monkeypatch.setattr(pictures, "browser", lambda: None)
    pictures.camera.cache_clear()
    assert not pictures.camera() and "apt install chromium" in capsys.readouterr().out
    pictures.camera.cache_clear()
    monkeypatch.setenv("JPY_SESSION_NAME", "/a/notebook.ipynb")
    assert not pictures.camera() and not capsys.readouterr().out
    pictures.take(titled("one"), "figure_one", pytest.fail)
    pictures.develop(wait=True)
    pictures.camera.cache_clear()


def test_a_palette_keeps_what_is_seen():
    shades = Image.linear_gradient("L").convert("RGB").resize((300, 200))
    whole = io.BytesIO()
    shades.save(whole, "PNG")
    small = Image.open(io.BytesIO(pictures._fewer_colours(whole.getvalue())))
    assert small.mode == "P" and small.size == (300, 200)
    apart = np.abs(np.asarray(small.convert("RGB"), int) - np.asarray(shades, int))
    assert apart.max() <= 4


def test_a_colour_that_is_rare_stays_itself():
    """A thin line of each method's colour on a page of soft bands: each is nearest to its own colour afterwards."""
    page = np.full((400, 600, 3), 255, np.uint8)
    page[:, :, 0] -= np.linspace(0, 40, 600).astype(np.uint8)
    page[:, :, 2] -= np.linspace(0, 60, 400).astype(np.uint8)[:, None]
    colors = {name: [int(color[i : i + 2], 16) for i in (1, 3, 5)] for name, (color, _) in COLORS.items()}
    for row, color in enumerate(colors.values(), 1):
        page[10 * row, 20:120] = color
    whole = io.BytesIO()
    Image.fromarray(page).save(whole, "PNG")
    small = np.asarray(Image.open(io.BytesIO(pictures._fewer_colours(whole.getvalue()))).convert("RGB"), int)
    for row, color in enumerate(colors.values(), 1):
        assert np.abs(small[10 * row, 70] - color).max() <= 16, color
