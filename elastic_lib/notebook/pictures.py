"""Still pictures of figures for viewers without JavaScript, taken by a browser while the notebook goes on."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import plotly.graph_objects as go

from elastic_lib.figures.browsers import browser
from elastic_lib.records.files import ROOT

WIDTH, SCALE = 1050, 1.25
_photographer = ThreadPoolExecutor(1)
_taken: list[tuple[Future, Callable[[bytes], None]]] = []


@functools.cache
def camera() -> bool:
    """Whether pictures are to be taken; the first call starts the browser, which takes longer than a picture."""
    if "JPY_SESSION_NAME" in os.environ:
        return False  # JupyterLab would show a still until the mouse comes by
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
    """Has a picture taken and kept in figures/own/; `develop` hands it to `then`."""
    if camera():
        _taken.append((_photographer.submit(_picture, figure.to_dict(), name), then))


def develop(wait: bool = False) -> None:
    """Hands on the pictures that are there by now, or all of them."""
    while _taken and (wait or _taken[0][0].done()):
        future, then = _taken.pop(0)
        if (picture := future.result()) is not None:
            then(picture)


def _picture(drawn: dict, name: str) -> bytes | None:
    import kaleido

    folder = Path(os.environ.get("ELASTIC_FIGURES", ROOT / "figures" / "own"))
    height = drawn["layout"].get("height", 500)
    still = {part: drawn[part] for part in ("data", "layout")}  # the frames need not travel to the browser
    try:
        picture = kaleido.calc_fig_sync(still, opts=dict(format="png", width=WIDTH, height=height, scale=SCALE))
        picture = _fewer_colours(picture)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(picture)
    except Exception as error:  # a browser that will not start must cost a picture, not the notebook
        print(f"no still picture of {name}: {type(error).__name__}: {error}")
        return None
    return picture


def _fewer_colours(picture: bytes) -> bytes:
    """The same with a palette of 256 colours, which lines and bands need no more than: a quarter of the bytes."""
    from PIL import Image

    smaller = io.BytesIO()
    palette = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    palette.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()
