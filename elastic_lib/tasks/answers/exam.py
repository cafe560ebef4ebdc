"""The alignment tax: questions nobody was trained on, whose answers are programs that are run (Appendix C.2).

Where answers are too short for programs, what is unlearnt shows in perplexity on text that the task never touches.
"""

from __future__ import annotations

import re
import warnings
from functools import cached_property

import torch

from elastic_lib import sandbox
from elastic_lib.nets.gpt import PAD, padded
from elastic_lib.tasks import real_text, scores
from elastic_lib.tasks.answers import real, world
from elastic_lib.tasks.answers.facts import UNTOUCHED
from elastic_lib.tasks.translation.real import tatoeba

SEED = 10**6 + 3  # of the generated exam, the same for every base and run
BATCH = 128
END = re.compile(r"\n(?=\S)(?!\))")  # a line that is not indented ends a function


class Exam:
    """The problems that a task's recipe names, and what became of the programs seen so far."""

    def __init__(self, task):
        self.task, self.recipe = task, task.recipe
        self.seen: dict[tuple[str, str], bool] = {}

    @cached_property
    def problems(self) -> list[world.Problem]:
        recipe = self.recipe
        if recipe.exam == "humaneval":
            return real.humaneval()[: recipe.exam_questions]
        return world.exam(recipe.exam_questions, seed=SEED)

    def sit(self, lm) -> dict[str, float]:
        """pass@1 and pass@10, estimated without bias from `exam_samples` answers a question; {} without a sandbox."""
        if (why := sandbox.missing()) is not None:
            warnings.warn(f"the exam is left out, as model-written code runs in a sandbox alone: {why}", stacklevel=2)
            return {}
        count, problems = self.recipe.exam_samples, self.problems
        programs = self._programs(lm)
        fresh = [pair for pair in dict.fromkeys(programs) if pair not in self.seen and pair[0]]
        verdicts = sandbox.run_many(fresh, workers=1, title="exam")
        self.seen |= {pair: verdict.passed for pair, verdict in zip(fresh, verdicts, strict=True)}
        right = [self.seen.get(pair, False) for pair in programs]
        solved = [sum(right[i : i + count]) for i in range(0, len(right), count)]
        estimates = {k: [scores.pass_at_k(count, c, k) for c in solved] for k in (1, 10) if k <= count}
        return {f"pass_at_{k}": sum(found) / len(problems) for k, found in estimates.items()}

    def _programs(self, lm) -> list[tuple[str, str]]:
        """The programs in so many answers to every question, each with the tests of its question."""
        task, recipe = self.task, self.recipe
        asked = [task.exam_prompt(problem.question) for problem in self.problems for _ in range(recipe.exam_samples)]
        generator = torch.Generator().manual_seed(11)
        said: list[str] = []
        for i in range(0, len(asked), BATCH):
            prompts = task.padded(asked[i : i + BATCH])
            answered = task.answer(lm, prompts, generator, recipe.exam_length)
            said += [task.text(row[prompts.shape[1] :]) for row in answered]
        tests = [problem.tests for problem in self.problems for _ in range(recipe.exam_samples)]
        if recipe.exam == "humaneval":
            heads = [problem.question for problem in self.problems for _ in range(recipe.exam_samples)]
            said = [head + END.split(text, maxsplit=1)[0] for head, text in zip(heads, said, strict=True)]
        else:
            said = [world.program(text) for text in said]
        return list(zip(said, tests, strict=True))


class Untouched:
    """Film reviews, programs and plain sentences, so many of each, taken evenly from a corpus."""

    def __init__(self, task):
        self.task, self.recipe = task, task.recipe
        self._rows: dict[str, torch.Tensor] = {}

    def rows(self) -> dict[str, torch.Tensor]:
        """The beginnings of the texts as tokens [N, T] of the language model, read once."""
        if not self._rows:
            self._rows = self._read()
        return self._rows

    def _read(self) -> dict[str, torch.Tensor]:
        dialogues, count = self.task.dialogues, self.recipe.exam_questions
        corpora = {
            "reviews": [review.text for review in real_text.imdb("test")],
            "programs": [problem.solution for problem in real.humaneval()],
            "sentences": tatoeba("en-de", "test")["en"],
        }
        rows = {}
        for kind in UNTOUCHED:
            texts = corpora[kind][:: max(1, len(corpora[kind]) // count)][:count]
            read = [
                [dialogues.tokenizer.bos_token_id, *dialogues.ids(text)[: self.recipe.exam_length]] for text in texts
            ]
            rows[kind] = padded(read).to(self.task.device)
        return rows

    def sit(self, lm) -> dict[str, float]:
        """Perplexity of each kind."""
        return {f"on_{kind}": scores.perplexity(lm, rows, rows != PAD) for kind, rows in self.rows().items()}
