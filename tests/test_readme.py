"""What the README says is so: its verdicts are those of the reference, its example runs, its links lead somewhere."""

import re
from pathlib import Path

import torch

from elastic_lib import pareto
from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import summed_up
from elastic_lib.records.files import ROOT
from elastic_lib.records.record import reference_results
from elastic_lib.tasks.ledger import HEADLINES, headlines, markdown, worlds
from elastic_lib.tasks.ledger import verdicts as judged

README = (ROOT / "README.md").read_text()


def between(mark):
    return re.search(rf"<!-- {mark} -->\n(.*?)\n?<!-- /{mark} -->", README, re.S).group(1)


def test_the_claims_table_is_the_ledger_of_the_reference():
    ledger = judged("pocket", reference_results("pocket"))
    assert [v.id for v in headlines(ledger)] == list(HEADLINES)
    assert between("claims headlines") == markdown(headlines(ledger))
    assert between("tally") == f"**{summed_up(ledger)}**"


def test_the_words_are_those_of_the_reference():
    game = next(world for world in worlds("pocket", reference_results("pocket")) if world.task == "translation")
    plain, elastic = (game.of(method)[0].samples().query("id == 3") for method in ("reinforce", "elastic"))
    before, drifted = plain.query("step == 0").iloc[0], plain.iloc[-1]
    after = elastic.query("reset == 1").iloc[-1]
    rows = [
        ("French", before["prompt"]),
        ("before training", before["text"]),
        (f"after {drifted['step']} updates without resets", drifted["text"]),
        ("Elastic Reset, after its last reset", after["text"]),
    ]
    lines = ["| | the Translation Game, seed 0 |", "|---|---|", *(f"| {who} | *{said}* |" for who, said in rows)]
    assert between("words") == "\n".join(lines)


def lab_rows() -> list[str]:
    """The real model's table: the mean of the seeds, and from the least to the most of them."""
    evidence = Evidence("sentiment", "lab", [reference_results("lab")])
    elastic = evidence.of("elastic").values()
    scores = {
        "before training": [next(iter(elastic)).status()["test_before"]],
        "PPO, β = 0.02": [run.status()["test"] for run in evidence.of("ppo", beta=0.02).values()],
        "PPO, β = 0.1": [run.status()["test"] for run in evidence.of("ppo", beta=0.1).values()],
        "Elastic Reset, β = 0.02, at the end": [run.status()["test"] for run in elastic],
        "… right after its last reset": [run.status()["test_after_reset"] for run in elastic],
    }

    def told(values: list[float], digits: int) -> str:
        mean, *ends = (f"{abs(v):.{digits}f}" for v in (sum(values) / len(values), min(values), max(values)))
        return mean if len(values) == 1 else f"{mean} ({' to '.join(ends)})"

    rows = []
    for name, ended in scores.items():
        cells = [told([one[what] for one in ended], n) for what, n in (("task", 3), ("drift", 1), ("forward_kl", 3))]
        seeds = "" if name == "before training" else len(ended)
        rows.append(f"| {' | '.join([name, *cells])} | {seeds} |")
    return rows


def lab_matched() -> str:
    """Perplexity on validation at the highest reward that both reach, of each seed."""
    evidence = Evidence("sentiment", "lab", [reference_results("lab")])
    plain, elastic = (
        {seed: run.curve() for seed, run in evidence.of(method, beta=0.02).items()} for method in ("ppo", "elastic")
    )
    found = {"PPO": [], "Elastic Reset": []}
    for seed in sorted(plain.keys() & elastic.keys()):
        top = min(curve["task"].max() for curve in (plain[seed], elastic[seed]))
        for name, curve in (("PPO", plain[seed]), ("Elastic Reset", elastic[seed])):
            found[name].append(pareto.drift_at(curve["task"], curve["drift"], top, better="lower"))
    told = [f"{', '.join(f'{v:.0f}' for v in values)} in {name}" for name, values in found.items()]
    return f"At the highest reward that both reach on validation, perplexity is {' and '.join(told)} (by seed)."


def test_the_real_model_is_that_of_the_reference():
    assert between("lab").split("\n")[2:] == lab_rows()
    assert lab_matched() in README
    assert between("lab tally") == summed_up(judged("lab", reference_results("lab"), ["sentiment"]))


def test_what_is_not_folded_is_short_and_the_finding_comes_first():
    shown = re.sub(r"<details>.*?</details>", "", README, flags=re.S)
    assert len(shown.split()) <= 1800
    assert shown.index("pocket_glance.png") < shown.index("```") and README.count("<details>") == README.count(
        "</details>"
    )


def test_the_example_runs_and_resets():
    code = re.search(r"```python\n(from elastic_lib import ElasticReset.*?)```", README, re.S).group(1)
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    seen = {"model": model, "optimizer": torch.optim.Adam(model.parameters()), "data": [torch.ones(3)] * 2000}
    seen |= {"loss": lambda model, batch: model(batch).square().sum(), "evaluate": lambda model: None}
    exec(code, seen)
    assert seen["elastic"].resets == 2


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_map_names_what_is_there():
    named = set(re.findall(r"(\w+\.py)", README.split("## The house")[1].split("## Speed")[0]))
    there = {path.name for path in Path(ROOT / "elastic_lib").rglob("*.py")} - {"__init__.py"}
    assert named == there
