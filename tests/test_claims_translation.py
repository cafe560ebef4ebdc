"""Verdicts on the Translation Game from records made up so that the answer is known; and its tables and figures."""

import numpy as np
import pytest

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import areas
from elastic_lib.figures import panels as figures
from elastic_lib.figures import style as drawing
from elastic_lib.figures import tables
from elastic_lib.notebook import reading
from elastic_lib.recipe import Recipe
from elastic_lib.records.record import Record
from elastic_lib.tasks import ledger as claims
from elastic_lib.tasks.translation import measures as effects
from elastic_lib.tasks.translation.facts import ELASTIC_KL

STEPS = range(0, 7)


def line(start, end):
    return list(np.linspace(start, end, 7))


def make(results, method, seed, task, english, resets=(), after=None, **settings):
    """A finished smoke record with the given curves; `resets` are (step, task, english) right after a reset."""
    recipe = Recipe("translation", method, "smoke", seed, **settings)
    record = Record.of(recipe, results)
    record.path.mkdir(parents=True)
    record.start(recipe, {"pretrained": {p: {"bleu": 70.0, "bleu_captions": 40.0} for p in recipe.parts}}, kept=None)
    then, iteration = {step: (t, e) for step, t, e in resets}, 0
    for step in STEPS:
        said = {"id": 0, "prompt": "un chien.", "text": f"a dog{' dog' * step}.", "reference": "a dog.",
                "german": "ein Hund.", "german_reference": "ein Hund."}  # fmt: skip
        row = {"step": step, "iteration": iteration, "reset": 0, "task": task[step], "drift": english[step]}
        record.add(row | {"length_ratio": 1.0, "repeated": 0.0, "unended": 0.0, "distinct_2": 0.5}, [said])
        if step in then:
            iteration += 1
            row |= {"iteration": iteration, "reset": 1, "task": then[step][0], "drift": then[step][1]}
            record.add(row, [said | {"text": "a dog."}])
    ends = {"test": {"task": task[-1], "drift": english[-1]}, "test_before": {"task": task[0], "drift": english[0]}}
    record.finish(**ends, **({"test_after_reset": after} if after else {}))
    return record


@pytest.fixture
def world(tmp_path):
    """Elastic Reset ends 1 under REINFORCE's task with all its English; Multitask is better at everything."""
    for seed in range(5):
        jitter = 0.1 * seed
        make(tmp_path, "frozen", seed, line(28, 34 + jitter), [40.0] * 7)
        make(tmp_path, "reinforce", seed, line(28, 42 + jitter), line(40, 20))
        make(tmp_path, "kl_lm", seed, line(28, 41 + jitter), line(40, 28))
        make(tmp_path, "multitask", seed, line(28, 44 + jitter), [*line(40, 41)])
        for beta in (0.001, 0.0):
            make(tmp_path, "elastic", seed, line(28, 41.5 + jitter), line(40, 39.7), beta=beta,
                 resets=[(2, 32.0, 39.9), (4, 36.5, 39.8)], after={"task": 38.0, "drift": 39.8})  # fmt: skip
        make(tmp_path, "to_ema", seed, line(28, 41.5 + jitter), line(40, 39.5 + (-1) ** seed), resets=[(2, 32, 39.9)])
        make(tmp_path, "sil", seed, line(28, 35), line(40, 30))
    return tmp_path


def verdicts(results):
    return {v.id.removeprefix("translation-"): v for v in claims.verdicts("smoke", results, ["translation"])}


def test_known_worlds_get_known_verdicts(world):
    ledger = verdicts(world)
    said = {name: ledger[name].verdict for name in (
        "frozen-does-not-drift", "frozen-capped", "early-rise", "reinforce-drifts", "kl-lm-reduces-drift",
        "kl-lm-high-task", "kl-lm-drifts", "multitask-lower-task", "elastic-nearly-best-task",
        "elastic-keeps-english",
        "elastic-area-over-reinforce", "elastic-area-over-multitask", "elastic-area-over-to-ema",
        "reset-repairs",
        "stop-after-reset-task", "stop-after-reset-english", "task-recovers", "sil-fails",
        "gumbel-similar")}  # fmt: skip
    assert said == {
        "frozen-does-not-drift": "supported",
        "frozen-capped": "supported",
        "early-rise": "refuted",  # the made-up REINFORCE falls from the start
        "reinforce-drifts": "supported",
        "kl-lm-reduces-drift": "supported",
        "kl-lm-high-task": "refuted",
        "kl-lm-drifts": "supported",
        "multitask-lower-task": "refuted",
        "elastic-nearly-best-task": "supported",
        "elastic-keeps-english": "supported",
        "elastic-area-over-reinforce": "supported",
        "elastic-area-over-multitask": "refuted",
        "elastic-area-over-to-ema": "inconclusive",
        "stop-after-reset-task": "supported",
        "stop-after-reset-english": "supported",
        "reset-repairs": "refuted",  # no English won for .5 and .5 of task
        "task-recovers": "supported",
        "sil-fails": "supported",
        "gumbel-similar": "not run",
    }
    assert ledger["reinforce-drifts"].effect == pytest.approx(20)
    assert ledger["elastic-nearly-best-task"].effect == pytest.approx(-0.5)


ENDS = {  # FR→EN of 40 at the end, of REINFORCE's and of Elastic Reset's three seeds; by Table 1: 6.6 lost, none lost
    "supported": ((30.0, 33.0, 36.0), (39.8, 40.0, 40.3)),
    "refuted": ((37.0, 38.0, 39.0), (38.0, 38.5, 39.0)),
    "inconclusive": ((30.0, 36.0, 39.0), (39.0, 40.0, 40.3)),
}


@pytest.mark.parametrize("word", ENDS)
def test_thresholds_are_the_papers_own_numbers_with_a_factor_of_two(tmp_path, word):
    for seed, (plain, elastic) in enumerate(zip(*ENDS[word], strict=True)):
        make(tmp_path, "reinforce", seed, line(28, 42), line(40, plain))
        make(tmp_path, "kl_lm", seed, line(28, 42), line(40, plain + 0.6))
        make(tmp_path, "elastic", seed, line(28, 41.8), line(40, elastic))
    ledger = verdicts(tmp_path)
    assert [ledger[name].verdict for name in ("reinforce-drifts", "kl-lm-drifts", "elastic-keeps-english")] == [
        word
    ] * 3
    assert (ledger["reinforce-drifts"].threshold, ledger["kl-lm-drifts"].threshold) == (3.3, 2.7)
    assert "half of the paper's own 6.6" in ledger["reinforce-drifts"].asks
    assert ledger["elastic-nearly-best-task"].verdict == "supported"  # .2 below, where the paper's is .3


def test_frozen_english_that_moves_at_all_is_refuted(tmp_path):
    for seed in range(3):
        make(tmp_path, "frozen", seed, line(28, 34), [40.0, 40.0, 40.001, 40.0, 40.0, 40.0, 40.0])
    assert verdicts(tmp_path)["frozen-does-not-drift"].verdict == "refuted"


def test_the_matched_level_is_frozens_best_of_the_same_seed(tmp_path):
    for seed in range(3):
        make(tmp_path, "frozen", seed, line(28, 34 + seed), [40.0] * 7)
        make(tmp_path, "reinforce", seed, line(28, 40 + 2 * seed), line(40, 22))
        make(tmp_path, "elastic", seed, line(28, 40 + 2 * seed), line(40, 34))
    verdict = verdicts(tmp_path)["elastic-matched-over-reinforce-1"]
    # 1 above 34 + seed is reached at step 4 (of 12, 14, 16 BLEU in 6 steps): 36 − 28 = 8
    assert verdict.effect == pytest.approx(8) and verdict.seeds == 3
    assert verdict.claimed() == "above 0" and verdict.numbers().endswith("BLEU")
    for seed in range(3):
        make(tmp_path / "low", "frozen", seed, line(28, 34), [40.0] * 7)
        make(tmp_path / "low", "reinforce", seed, line(28, 40), line(40, 22))
        make(tmp_path / "low", "elastic", seed, line(28, 33 + seed), line(40, 39))
    low = verdicts(tmp_path / "low")["elastic-matched-over-reinforce-0"]
    assert low.verdict == "inconclusive" and low.note == "1 of 3 seeds never reach the level"
    high = effects.matched("reinforce", 30)(Evidence("translation", "smoke", [tmp_path]))
    assert all(np.isnan(value) for value in high.values())


def test_the_area_counts_english_above_half_of_the_pretrained(tmp_path):
    make(tmp_path, "reinforce", 0, [28, 40, 40, 40, 40, 40, 40], [40, 40, 10, 10, 10, 10, 10])
    found = Evidence("translation", "smoke", [tmp_path])
    # (40 − 28)·(40 − 20) of (100 − 28)·20
    assert areas(found, "reinforce")[0] == pytest.approx(12 / 72)


def test_tables_say_what_the_records_hold(world):
    found = Evidence("translation", "smoke", [world])
    table = tables.final_scores(found, [("frozen", {}), ("elastic", {})])
    assert list(table.index) == [
        "Pretrained",
        "Frozen English",
        "Elastic Reset",
        "Elastic Reset, right after its last reset",
    ]
    assert table.loc["Pretrained", "↑ FR→EN"] == "40.0 ± 0.0"
    assert table.loc["Elastic Reset, right after its last reset", "↑ FR→EN→DE"] == "38.0 ± 0.0"
    combined = tables.combined_scores(found, [("reinforce", {})])
    assert combined.loc["REINFORCE", "↑ drift"] == "-20.0 ± 0.0"
    assert combined.loc["REINFORCE", "↑ combined"].startswith("-5.8")  # −20 + 14 + the mean jitter of .2
    assert tables.pretrained(found, [("frozen", {})]).loc[0, "FR→EN, captions"] == 40.0


def test_names_of_settings(tmp_path):
    make(tmp_path, "elastic", 0, line(28, 34), line(40, 39), **ELASTIC_KL[1])
    make(tmp_path, "elastic", 0, line(28, 34), line(40, 39), beta=0.0, multitask=1.0, multitask_batch=32)
    make(tmp_path, "elastic", 0, line(28, 34), line(40, 39), samples=1, reset_every=3, decay=0.63)
    make(tmp_path, "kl", 0, line(28, 34), line(40, 39), beta=0.2)
    found = Evidence("translation", "smoke", [tmp_path])
    names = {drawing.name_of(found.recipes[label]) for label in found.found}
    assert names == {"Elastic Reset, β = 0.05", "Elastic Reset + Multitask", "Elastic Reset", "KL to initial, β = 0.2"}


@pytest.mark.parametrize("name", ["three_panels", "frontier", "hypervolumes", "distances", "symptoms"])
def test_figures_draw_what_is_there_and_leave_out_what_is_not(world, name):
    found = Evidence("translation", "smoke", [world])
    settings = [("reinforce", {}), ("elastic", {}), ("gumbel", {})]
    figure = getattr(figures, name)(found, settings, "a title")
    drawn = {trace.name for trace in figure.data if trace.name}
    ticks = {
        tick for trace in figure.data for tick in (trace.y if trace.y is not None else ()) if isinstance(tick, str)
    }
    assert {"REINFORCE", "Elastic Reset"} <= drawn | ticks
    assert "Gumbel-Softmax" not in drawn | ticks
    titles = [figure.layout[axis].title.text or "" for axis in figure.layout if axis.startswith(("xaxis", "yaxis"))]
    assert any("better" in title for title in titles) or name == "symptoms"
    assert all(axis.autorange != "reversed" for axis in figure.select_yaxes())  # more BLEU is up


def test_the_star_stands_where_the_policy_was_right_after_its_last_reset(world):
    found = Evidence("translation", "smoke", [world])
    figure = figures.three_panels(found, [("elastic", {})], "a title", stops=True)
    (star,) = [trace for trace in figure.data if trace.marker.symbol == "star"]
    assert (star.x[0], star.y[0]) == pytest.approx((36.5, 39.8))


def test_reading_marks_the_words_that_were_not_said_before(world):
    found = Evidence("translation", "smoke", [world])
    shown = reading.side_by_side(found, {"Elastic Reset": ("elastic", {})}, seed=0, prompts=[0]).data
    assert "Elastic Reset, right after its last reset" in shown and "before training" in shown
    assert "<mark>" not in shown.split("Elastic Reset, right after its last reset")[0]
    last = shown.split(">Elastic Reset, at the end<")[1]
    assert "a <mark>dog dog dog dog dog dog</mark> dog." in last
    assert reading.marked("a b c .".split(), "a b b c".split()) == "a b <mark>b</mark> c"
    assert reading.marked(["a"], "a ⏎ ⇥ b".split()) == "a ⏎ ⇥ <mark>b</mark>"
    assert reading.marked("a <".split(), "a < <".split()) == "a &lt; <mark>&lt;</mark>"


def test_the_sentence_that_is_shown_is_the_one_that_was_translated_best(world):
    found = Evidence("translation", "smoke", [world])
    kept = found.of("reinforce")[0].samples().query("step == 0")
    said = dict(reading.versions(found))
    shown = kept[kept["prompt"] == said["French"]].iloc[0]
    alike = [reading._alike(row.text, row.reference) for row in kept.itertuples()]
    assert reading._alike(shown["text"], shown["reference"]) == max(alike) and said["before training"] == shown["text"]
    assert "Elastic Reset, after its last reset" in said and "<table" in reading.one_sentence(found).data
    del found.found["reinforce"][0]
    assert reading.versions(found) == [] and reading.one_sentence(found).data == "no records of this"


def test_every_claim_has_an_id_of_its_own_and_words():
    ids = [claim.id for claim in claims.every_claim()]
    assert len(set(ids)) == len(ids)
    assert all(claim.statement and claim.where and claim.measure for claim in claims.every_claim())
