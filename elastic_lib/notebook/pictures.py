"""Still pictures of figures for viewers without JavaScript, taken by a browser while the notebook goes on."""

from __future__ import annotations

import base64
import functools
import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import plotly.graph_objects as go

from elastic_lib.figures import browser
from elastic_lib.records.files import ROOT, whole

WIDTH, SCALE = 1050, 1.25
PATIENCE = 60  # seconds for a picture that is waited for
_photographer = ThreadPoolExecutor(1)
_taken: list[tuple[Future, Callable[[bytes], None]]] = []


@functools.cache
def camera() -> bool:
    """Whether pictures are to be taken; the first call starts the browser, which takes longer than a picture."""
    if "JPY_SESSION_NAME" in os.environ:
        return False  # JupyterLab would show a still until the mouse comes by
    if sys.platform == "emscripten":
        return False  # a browser is where this runs
    if browser() is None:
        print("No Chromium here, so no still pictures: `apt install chromium` (or any Chrome) brings them.")
        return False
    try:
        import kaleido
    except ImportError:
        print("No still pictures without kaleido: `pip install kaleido` brings them.")
        return False
    kaleido.start_sync_server(n=1, silence_warnings=True)
    return True


def take(figure: go.Figure, name: str, then: Callable[[bytes], None]) -> None:
    """Has a picture taken, and kept in figures/own/ where nothing in it moves; `develop` hands it to `then`."""
    if camera():
        _taken.append((_photographer.submit(_picture, figure.to_dict(), name), then))


def develop(wait: bool = False) -> None:
    """Hands on the pictures that are there by now, or all of them."""
    while _taken and (wait or _taken[0][0].done()):
        future, then = _taken.pop(0)
        if (picture := future.result()) is not None:
            then(picture)


def still(figure: go.Figure) -> dict[str, str]:
    """What stands for a live figure where nothing is alive: an entry of a mimebundle, or none without a camera."""
    if not camera():
        return {}
    try:
        picture = _photographer.submit(_exposed, figure.to_dict()).result(PATIENCE)
        return {"image/png": base64.b64encode(picture).decode()}
    except Exception as error:
        print(f"no still picture: {type(error).__name__}: {error}")
        return {}


def _picture(drawn: dict, name: str) -> bytes | None:
    folder = Path(os.environ.get("ELASTIC_FIGURES", ROOT / "figures" / "own"))
    try:
        picture = _exposed(drawn)
        if not drawn.get("frames"):  # a film's first frame says little: it stays in the notebook
            folder.mkdir(parents=True, exist_ok=True)
            with whole(folder / f"{name}.png") as draft:
                draft.write_bytes(picture)
    except Exception as error:  # a browser that will not start must cost a picture, not the notebook
        print(f"no still picture of {name}: {type(error).__name__}: {error}")
        return None
    return picture


def _exposed(drawn: dict) -> bytes:
    import kaleido

    parts = {part: drawn[part] for part in ("data", "layout")}  # the frames need not travel to the browser
    size = dict(width=WIDTH, height=drawn["layout"].get("height", 500), scale=SCALE)
    return _fewer_colours(kaleido.calc_fig_sync(parts, opts=dict(format="png", **size)))


def _fewer_colours(picture: bytes) -> bytes:
    """The same with a palette of 256 colours, which lines and bands need no more than: a quarter of the bytes.

    Chosen so that the rarest is covered too, a method that has one thin line keeps its colour, and then moved to the
    means of what they stand for, so that a pale band keeps its own.
    """
    from PIL import Image

    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    palette = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    smaller = io.BytesIO()
    palette.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()
