"""Talk to a policy: the same words to the untrained model, the one that drifted, and the one right after a reset.

What they said when they were published stands in their files, and is shown without torch or a model. Whoever has both
(`elastic models` fetches the model) writes something else, and they answer.
"""

from __future__ import annotations

import html
import itertools
from pathlib import Path
from typing import Any

from elastic_lib.figures.names import name_of
from elastic_lib.notebook.reading import marked, tabled
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import head_of
from elastic_lib.records.record import own_results, reference_results

CELL = "style='text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere'"
HINT = "Each press draws other random numbers, the same for all."


def talk(scale: str, folder: Path | str | None = None) -> Any:
    """A `Talk` with the voices of a folder, else your own of the scale, else the reference's; a notebook shows it."""
    from IPython.display import HTML

    folders = [Path(folder)] if folder else [where(scale) / "voices" for where in (own_results, reference_results)]
    files = next(filter(None, (sorted(one.glob("*.safetensors")) for one in folders)), None)
    if not files:
        made = "elastic voice RUN_ID --scale lab makes a voice of a run"
        return HTML(f"<p>nobody to talk to at scale {scale}: {made}</p>")
    return Talk(files)


class Talk:
    """A line to write, a button, and how every voice goes on; `ask` does what the button does."""

    def __init__(self, files: list[Path]):
        import ipywidgets

        self.files, self._voices, self._seeds = files, None, itertools.count()
        heads = [head_of(file) for file in files]
        self.names = ["before training", *(f"{name_of(Recipe.from_dict(h['recipe']))}, {h['when']}" for h in heads)]
        self.far = [0.0, *(head["kl_to_untrained"] for head in heads)]
        first = heads[0]["said"]
        recorded = {prompt: [first[prompt][0], *(head["said"][prompt][1] for head in heads)] for prompt in first}
        lost = max(head["kl_to_cut"] for head in heads)
        cut = f"Adapters are cut to rank {heads[0]['rank']}, at most {lost:.4f} nats a token from the whole ones."
        note = f"<p>Marked: what the untrained model does not say. {cut}</p>"
        self.told = "".join(self._table(prompt, answers) for prompt, answers in recorded.items()) + note
        self.line = ipywidgets.Text(value=next(iter(recorded)), description="you begin", layout={"width": "60%"})
        self.button = ipywidgets.Button(description="they go on", layout={"width": "120px"})
        self.said = ipywidgets.HTML(f"{self.told}<p>{HINT}</p>")
        self.button.on_click(lambda _: self.ask(self.line.value))
        self.box = ipywidgets.VBox([ipywidgets.HBox([self.line, self.button]), self.said])

    def _repr_mimebundle_(self, **how: Any) -> Any:
        """The box, and where no kernel runs what was said when the voices were published."""
        bundle = self.box._repr_mimebundle_(**how)
        bundle, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return bundle | {"text/html": f"<div>{self.told}</div>"}, metadata

    def ask(self, prompt: str, seed: int | None = None) -> None:
        """Lets every voice go on with these words; says what is missing where it cannot."""
        self.button.disabled, self.said.value = True, "<p>reading the model …</p>"
        try:
            if self._voices is None:
                from elastic_lib.tasks.sentiment.voices import Voices

                self._voices = Voices(self.files)
            answers = self._voices.say(prompt, next(self._seeds) if seed is None else seed)
            self.said.value = f"{self._table(prompt, answers)}<p>{HINT}</p>"
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            self.said.value = f"<p>{html.escape(str(error))}</p>{self.told}"
        finally:
            self.button.disabled = False

    def _table(self, prompt: str, answers: list[str]) -> str:
        """Who says it, how far that one went from the untrained model, and what it says."""
        untrained = answers[0].split()
        rows = (
            (html.escape(name), f"{far:.3f}", marked(untrained, said.split()))
            for name, far, said in zip(self.names, self.far, answers, strict=True)
        )
        told = tabled(("", "KL, nats a token", "goes on"), rows, CELL)
        return f"<p><b>{html.escape(prompt)}</b> …</p>{told}"
