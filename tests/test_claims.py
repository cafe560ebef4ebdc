"""Verdicts from records made up so that the answer is known; and that the ledger can say each of the four words."""

import json
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from elastic_lib import pareto
from elastic_lib.cli import main
from elastic_lib.evidence.evidence import Evidence, on_common_steps
from elastic_lib.evidence.measures import AVERAGE, Line, area, areas, dominance, resets, shares
from elastic_lib.evidence.verdicts import BY_CONSTRUCTION, summed_up, tally
from elastic_lib.recipe import Recipe
from elastic_lib.records import record as records
from elastic_lib.records.record import Record, columns
from elastic_lib.tasks import facts
from elastic_lib.tasks import ledger as claims
from elastic_lib.tasks.sentiment.facts import BETAS

STEPS = range(0, 7)
SENTIMENT = facts("sentiment").YARDSTICK


def make(
    results,
    method,
    seed,
    task,
    drift,
    resets=(),
    test=None,
    scale="smoke",
    also=None,
    of="sentiment",
    env=None,
    **settings,
):
    """A finished record with the given curve, `also` other columns; `resets`: (step, task, drift) right after one."""
    recipe = Recipe(of, method, scale, seed, **settings)
    every = recipe.eval_every
    record = Record.of(recipe, results)
    record.path.mkdir(parents=True)
    record.start(recipe, {"torch": "none"} | (env or {}), kept=None)
    iteration = 0
    after = {step: (t, d) for step, t, d in resets}
    for i in STEPS:
        step = every * i
        row = {"step": step, "iteration": iteration, "reset": 0, "task": task[i], "drift": drift[i]}
        more = {name: values[i] for name, values in (also or {}).items()}
        record.add({**row, "ema_task": task[i], "ema_drift": drift[i] - 0.1 * i, **more}, [])
        if step in after:
            iteration += 1
            record.add(
                {"step": step, "iteration": iteration, "reset": 1, "task": after[step][0], "drift": after[step][1]}, []
            )
    last = {"task": task[-1], "drift": drift[-1]}
    record.finish(test=test or last, test_before={"task": task[0], "drift": drift[0]})
    return record


def line(start, end):
    return list(np.linspace(start, end, 7))


@pytest.fixture
def world(tmp_path):
    """Elastic pays half of what PPO pays; PPO β=0 ends at 8 times the perplexity; NLPO is PPO; to_ema is noise."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        jitter = 0.01 * rng.standard_normal()
        for beta in (0.1, 0.01):
            make(tmp_path, "ppo", seed, line(0.5, 0.95), line(2.0, 3.0 + jitter), beta=beta)
        make(tmp_path, "ppo", seed, line(0.5, 1.0), line(2.0, 16.0), beta=0.0)
        make(tmp_path, "nlpo", seed, line(0.5, 0.95), line(2.0, 3.0 + jitter + 0.001 * seed))
        elastic = line(0.5, 0.95), line(2.0, 2.5 + jitter)
        make(tmp_path, "elastic", seed, *elastic, resets=[(2, 0.62, 2.04), (4, 0.75, 2.08)])
        make(tmp_path, "to_ema", seed, elastic[0], line(2.0, 2.5 + 0.3 * (-1) ** seed))
        make(tmp_path, "track", seed, line(0.5, 0.95), line(2.0, 3.0 + jitter))
    return tmp_path


def verdicts(results):
    return {v.id: v for v in claims.verdicts("smoke", results)}


def test_known_worlds_get_known_verdicts(world):
    ledger = verdicts(world)
    said = {name: ledger[f"sentiment-{name}"].verdict for name in (
        "ppo-gains-reward", "ppo-drifts", "no-kl-explodes", "nlpo-like-ppo", "elastic-area-over-ppo",
        "elastic-cheaper-at-75", "reset-undoes-drift", "elastic-over-to-ema", "elastic-over-to-init",
        "larger-beta-better-frontier", "average-beats-online", "elastic-over-average")}  # fmt: skip
    assert said == {
        "ppo-gains-reward": "supported",
        "ppo-drifts": "supported",
        "no-kl-explodes": "supported",
        "nlpo-like-ppo": "supported",
        "elastic-area-over-ppo": "supported",
        "elastic-cheaper-at-75": "supported",
        "reset-undoes-drift": "supported",
        "elastic-over-to-ema": "inconclusive",
        "elastic-over-to-init": "not run",
        "larger-beta-better-frontier": "inconclusive",  # both are the same here: 0 is no support
        "average-beats-online": "supported",
        "elastic-over-average": "refuted",  # the made-up average pays .1 less a step than PPO, more than Elastic saves
    }
    drifts = ledger["sentiment-ppo-drifts"]
    assert (
        drifts.effect == pytest.approx(1.0, abs=0.02)
        and drifts.low <= drifts.effect <= drifts.high
        and drifts.seeds == 5
    )
    assert ledger["sentiment-no-kl-explodes"].effect == pytest.approx(8.0)
    # .65, 2.1667 → .62, 2.04 undoes .76 of the drift; .8, 2.333 → .75, 2.08 undoes .76
    shares = [(reset.undone, reset.given_up) for reset in resets(Evidence("sentiment", "smoke", [world]), "elastic")[0]]
    drift_end = Evidence("sentiment", "smoke", [world]).of("elastic")[0].curve()["drift"].iloc[-1]
    step = (drift_end - 2) / 6
    assert shares[0] == pytest.approx(((2 * step - 0.04) / (2 * step), 0.03 / 0.15))
    assert shares[1] == pytest.approx(((4 * step - 0.08) / (4 * step), 0.05 / 0.30))


def test_the_opposite_world_is_refuted(tmp_path):
    for seed in range(3):
        make(tmp_path, "ppo", seed, line(0.5, 0.95), line(2.0, 2.2 + 0.01 * seed), beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 3.0), resets=[(2, 0.5, 2.9), (4, 0.5, 2.9)])
        make(tmp_path, "nlpo", seed, line(0.5, 0.6), line(2.0, 3.0))
    ledger = verdicts(tmp_path)
    for name in (
        "elastic-area-over-ppo",
        "elastic-cheaper-at-75",
        "nlpo-like-ppo",
        "final-drift",
        "reset-undoes-drift",
    ):
        assert ledger[f"sentiment-{name}"].verdict == "refuted", name


def test_two_seeds_decide_nothing_and_no_records_are_not_run(tmp_path):
    for seed in range(2):
        make(tmp_path, "ppo", seed, line(0.5, 0.95), line(2.0, 3.0), beta=0.1)
    ledger = verdicts(tmp_path)
    assert ledger["sentiment-ppo-drifts"].verdict == "inconclusive" and ledger["sentiment-ppo-drifts"].seeds == 2
    assert ledger["sentiment-no-kl-explodes"].verdict == "not run" and ledger["sentiment-no-kl-explodes"].effect is None


def test_a_level_is_a_share_of_the_way_that_both_go(tmp_path):
    for seed in range(3):
        make(tmp_path, "ppo", seed, line(0.5, 0.7), line(2.0, 3.0), beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 2.5))
    ledger = verdicts(tmp_path)
    # half of the way to .7 is .6, which PPO has at its third step (of 6) and Elastic Reset at its second
    assert ledger["sentiment-elastic-cheaper-at-50"].effect == pytest.approx(0.5 - 2 / 6 * 0.5)
    assert ledger["sentiment-elastic-cheaper-at-100"].effect == pytest.approx(1 - 3 / 6 * 0.5)
    assert ledger["sentiment-elastic-cheaper-at-100"].verdict == "supported"


@pytest.mark.parametrize("name", ["elastic-cheaper-at-50", "elastic-faster", "larger-beta-slower", "average-slower"])
def test_rewards_of_another_size_get_the_same_verdict(tmp_path, name):
    """Real text's rewards start near .55 and end near .75: no level may be a number of pocket's."""
    told = []
    for size, start, perplexity in ((1.0, 0.5, 2.0), (0.25, 0.55, 65.0)):
        results = tmp_path / str(size)
        for seed in range(3):
            run = dict(drift=line(perplexity, 1.4 * perplexity))
            make(results, "ppo", seed, line(start, start + 0.3 * size), beta=0.1, **run)
            make(results, "ppo", seed, line(start, start + 0.4 * size), beta=0.01, **run)
            make(results, "elastic", seed, line(start, start + 0.4 * size), line(perplexity, 1.2 * perplexity))
            make(results, "track", seed, [start, *line(start, start + 0.4 * size)[:6]], **run)
        told.append(verdicts(results)[f"sentiment-{name}"].verdict)
    assert told == ["supported", "supported"]


def test_nobody_is_paid_for_levels_that_the_subject_never_reaches(tmp_path):
    """At every reward that Elastic Reset reaches it is the better; PPO goes on to where it never comes."""
    for seed in range(3):
        make(tmp_path, "ppo", seed, line(0.5, 1.0), [2.0, 2.8, 2.8, 2.8, 2.8, 2.8, 2.8], beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.6), line(2.0, 2.2))
        make(tmp_path, "track", seed, line(0.5, 1.0), line(2.0, 2.6))
    found = Evidence("sentiment", "smoke", [tmp_path])
    assert areas(found, "elastic")[0] < areas(found, "ppo", beta=0.1)[0]  # which the plain area would call worse
    ledger = verdicts(tmp_path)
    over_ppo = ledger["sentiment-elastic-area-over-ppo"]
    # of an ideal .5 · 1: six steps of .1/6, drifts 2 + i/30 and 2.8 below 3
    assert over_ppo.verdict == "supported"
    assert over_ppo.effect == pytest.approx(sum(0.1 / 6 * (0.8 - i / 30) for i in range(1, 7)) / 0.5)
    # and where the average is the subject, it is paid for all that it reaches, and the policy for no more than that
    policy, average = Line("track"), AVERAGE
    assert dominance(found, average, policy)[0] == pytest.approx(-dominance(found, policy, average)[0]) != 0


def test_a_line_without_points_decides_nothing(tmp_path):
    nowhere = [float("nan")] * 7
    for seed in range(3):
        make(tmp_path, "ppo", seed, line(0.5, 0.9), line(2.0, 3.0), beta=0.1)
        make(tmp_path, "elastic", seed, nowhere, nowhere)
    ledger = verdicts(tmp_path)
    for name in ("area-over-ppo", "cheaper-at-50"):
        assert ledger[f"sentiment-elastic-{name}"].verdict == "inconclusive"
        assert ledger[f"sentiment-elastic-{name}"].note == "3 of 3 seeds never reach the level"


def test_nothing_is_a_share_of_what_was_not_gained():
    assert shares({0: 0.1, 1: 0.1, 2: 0.1}, {0: 0.4, 1: 0.0, 2: -1.0}) == pytest.approx(
        {0: 0.25, 1: math.nan, 2: math.nan}, nan_ok=True
    )


def test_of_several_rivals_the_one_that_leaves_the_least_is_beaten_or_not(full):
    ledger = verdicts(full)
    assert ledger["sentiment-elastic-over-every-baseline"].verdict == "supported"
    for seed in range(3):
        make(full / "worse", "elastic", seed, line(0.5, 0.95), line(2.0, 2.95))
        for beta in BETAS["ppo"]:
            make(full / "worse", "ppo", seed, line(0.5, 0.95), line(2.0, 2.9 if beta == 0.3 else 3.4), beta=beta)
        make(full / "worse", "nlpo", seed, line(0.5, 0.95), line(2.0, 3.4))
    ledger = verdicts(full / "worse")
    assert ledger["sentiment-elastic-over-every-baseline"].verdict == "refuted"  # by one β among six
    assert ledger["sentiment-elastic-area-over-ppo"].verdict == "supported"  # which is not the paper's
    assert ledger["sentiment-elastic-cheaper-for-every-reward"].verdict == "refuted"


@pytest.fixture
def full(tmp_path):
    """PPO with each of its coefficients, worse than Elastic Reset with all of them."""
    for seed in range(3):
        for i, beta in enumerate(BETAS["ppo"]):
            make(tmp_path, "ppo", seed, line(0.5, 0.9), line(2.0, 2.8 + 0.05 * i), beta=beta)
        make(tmp_path, "nlpo", seed, line(0.5, 0.9), line(2.0, 2.9))
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 2.3))
    return tmp_path


def test_a_sweep_that_is_not_whole_decides_nothing(full):
    for path in (full / "records").glob("sentiment-ppo-s*"):
        if Record(path).recipe()["beta"] in (0.3, 1.0):
            shutil.rmtree(path)
    verdict = verdicts(full)["sentiment-elastic-area-over-best-ppo"]
    assert verdict.verdict == "not run" and verdict.note == "no record of ppo β=0.3, ppo β=1"
    assert verdicts(full)["sentiment-elastic-area-over-ppo"].verdict == "supported"  # which needs no sweep


def test_what_a_sweep_lacks_is_the_references_and_the_row_says_so(full, tmp_path_factory, monkeypatch):
    root = tmp_path_factory.mktemp("house")
    monkeypatch.setattr(records, "ROOT", root)
    shutil.copytree(full / "records", root / "papermill_runs" / "reference" / "smoke" / "records")
    own = tmp_path_factory.mktemp("own")
    for seed in range(3):
        make(own, "ppo", seed, line(0.5, 0.9), line(2.0, 3.0), beta=0.1)
        make(own, "elastic", seed, line(0.5, 0.95), line(2.0, 2.2))
    ledger = verdicts(own)
    swept, plain = (ledger[f"sentiment-elastic-area-over-{name}"] for name in ("best-ppo", "ppo"))
    assert swept.verdict == "supported" and swept.records == "yours; the sweep is the reference's"
    assert plain.records == "yours" and "the sweep is the reference's" in swept.how()
    assert ledger["sentiment-elastic-area-over-nlpo"].verdict == "not run"  # only a sweep is filled
    reference = root / "papermill_runs" / "reference" / "smoke"
    assert verdicts(reference)["sentiment-elastic-area-over-best-ppo"].records == "the reference's"


def test_what_is_said_of_a_first_seed_is_its_own_and_decides_nothing(full, tmp_path_factory, monkeypatch):
    root = tmp_path_factory.mktemp("house")
    monkeypatch.setattr(records, "ROOT", root)
    shutil.copytree(full / "records", root / "papermill_runs" / "reference" / "smoke" / "records")
    own = tmp_path_factory.mktemp("own")
    make(own, "ppo", 0, line(0.5, 0.8), line(2.0, 3.0), beta=0.1)
    make(own, "elastic", 0, line(0.5, 0.95), line(2.0, 2.2))
    ledger = verdicts(own)
    gained = ledger["sentiment-ppo-gains-reward"]
    assert (gained.verdict, gained.seeds, gained.records) == ("inconclusive", 1, "yours")
    said = claims.brief(list(ledger.values())).splitlines()
    assert "Fewer than 3 seeds decide nothing" in said[1]
    assert [line for line in said if "the reference" in line] == [line for line in said if "(records: " in line] != []
    assert f"? inconclusive: {gained.statement} {gained.numbers()}" in said
    whole = claims.brief(list(verdicts(full).values()))
    assert "Fewer than" not in whole and "(records: " not in whole


def test_claims_are_paired_by_seed(tmp_path):
    # perplexities that differ wildly between seeds but by exactly .1 within each
    for seed in range(4):
        base = 2.0 + seed
        make(tmp_path, "ppo", seed, line(0.5, 0.95), line(base, base + 1.0), beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(base, base + 0.9))
    verdict = verdicts(tmp_path)["sentiment-final-drift"]
    assert verdict.verdict == "supported"
    assert (verdict.low, verdict.effect, verdict.high) == pytest.approx((0.1, 0.1, 0.1))


def test_rows_right_after_a_reset_never_count_for_a_frontier(tmp_path):
    for seed in range(3):
        make(tmp_path, "elastic", seed, line(0.5, 0.6), line(2.0, 3.0), resets=[(2, 1.0, 1.0)])
    found = Evidence("sentiment", "smoke", [tmp_path])
    curve = on_common_steps(found.curve(found.of("elastic")[0]), 1)
    assert len(curve) == 7 and curve["task"].max() == pytest.approx(0.6)
    assert len(on_common_steps(found.curve(found.of("elastic")[0]), 3)) == 3


def test_the_table_shows_the_average_of_track_and_the_start(tmp_path):
    from elastic_lib.figures import tables

    test = {"task": 0.9, "drift": 3.0}
    for seed in range(2):
        record = make(tmp_path, "track", seed, line(0.5, 0.95), line(2.0, 3.0), test=test)
        status = record.status()
        record.finish(test=test, test_before=status["test_before"], test_ema={"task": 0.8, "drift": 2.5 + 0.2 * seed})
    found = Evidence("sentiment", "smoke", [tmp_path])
    table = tables.final_scores(found, found.settings())
    assert table.loc["Zero-shot", "↓ perplexity"] == "2.000 ± 0.000"
    row = table.loc["PPO, its EMA read out, β = 0.01"]
    assert (row["↑ sentiment"], row["↓ perplexity"], row["seeds"]) == ("0.800 ± 0.000", "2.600 ± 0.100", 2)
    online = area(found.curve(found.of("track")[0]), found.facts.YARDSTICK)
    assert float(row["↑ hypervolume"].split()[0]) > online


def test_area_is_a_share_of_the_ideal():
    rows = pd.DataFrame({"task": [0.5, 1.0], "drift": [2.0, 2.0]})
    assert area(rows, SENTIMENT) == pytest.approx(1.0)
    assert area(pd.DataFrame({"task": [0.5, 0.75], "drift": [2.0, 2.5]}), SENTIMENT) == pytest.approx(0.25)
    assert area(pd.DataFrame({"task": [0.5, 1.0], "drift": [2.0, 9.0]}), SENTIMENT) == 0


def test_interval_with_three_values_spans_them_and_narrows_with_more():
    assert pareto.interval([1.0, 2.0, 6.0]) == pytest.approx((1.0, 6.0))
    assert all(math.isnan(bound) for bound in pareto.interval([1.0]))
    assert pareto.interval([2.0] * 5) == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    trials = 300
    hits = 0
    for _ in range(trials):
        low, high = pareto.interval(rng.standard_normal(n)) if n <= 5 else _light(rng.standard_normal(n))
        hits += low <= 0 <= high
    # 3 values cannot span the truth more often than 1 − 2·½³ = .75, and that is why 3 seeds say "about"
    assert hits / trials >= {3: 0.68, 5: 0.88, 8: 0.9}[n]
    assert hits / trials < 1


def _light(values):
    return pareto.interval(values)


def test_settings_are_never_mixed_between_folders(world, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    for seed in range(3):
        make(own, "ppo", seed, line(0.5, 0.95), line(2.0, 9.0), beta=0.1)
    make(own, "nlpo", 0, line(0.5, 0.95), line(2.0, 9.0))
    found = Evidence("sentiment", "smoke", [own, world])
    assert sorted(found.of("ppo")) == [0, 1, 2] and found.source[found.label("ppo")] == own
    assert sorted(found.of("nlpo")) == [0, 1, 2, 3, 4] and found.source[found.label("nlpo")] == world


def test_the_json_of_the_command_line(world, capsys):
    assert main(["claims", "--scale", "smoke", "--results", str(world), "--json"]) == 0
    ledger = json.loads(capsys.readouterr().out)
    assert {"id", "statement", "where", "scale", "verdict", "effect", "low", "high", "seeds"} <= set(ledger[0])
    assert {"measure", "threshold", "margin", "note", "unit", "asks", "again", "apart", "records"} <= set(ledger[0])
    assert len({claim["id"] for claim in ledger}) == len(ledger) == len(claims.every_claim("smoke"))
    assert {claim["verdict"] for claim in ledger} <= {"supported", "refuted", "inconclusive", "not run"}
    assert all(claim["scale"] == "smoke" for claim in ledger)
    main(["claims", "--scale", "smoke", "--results", str(world)])
    printed = capsys.readouterr().out
    run = [claim["id"] for claim in ledger if claim["verdict"] != "not run"]
    assert all(name in printed for name in run) and "\x1b" not in printed
    assert f"{len(ledger) - len(run)} rows were not run, for want of records: --verdict not-run" in printed
    drifts = printed.split("sentiment-ppo-drifts")[1].split("\n")
    assert (
        drifts[2].strip().startswith("+1") and "of perplexity, claimed: above 0; 5 seeds; records: yours" in drifts[2]
    )
    assert "test perplexity after PPO with the strong KL minus before. Asked: more than none." in drifts[3]
    assert printed.index(claims.HEADLINES["answers-exam-over-ppo"]) < printed.index("statements of the paper:")


def shown(capsys, *options):
    assert main(["claims", "--scale", "smoke", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_claims_are_found_by_verdict_task_and_whole_words(world, capsys):
    results = ("--results", str(world))
    every = shown(capsys, *results)
    supported = shown(capsys, *results, "--verdict", "supported")
    assert supported == [claim for claim in every if claim["verdict"] == "supported"]
    assert 0 < len(supported) < len(every)
    assert {v["verdict"] for v in shown(capsys, *results, "--verdict", "not-run")} == {"not run"}
    found = shown(capsys, *results, "--search", "ppo nlpo")
    assert {"sentiment-nlpo-like-ppo", "sentiment-elastic-over-every-baseline"} <= {v["id"] for v in found}
    for v in found:
        words = re.findall(r"\w+", " ".join((v["id"], v["statement"], v["where"], v["measure"], v["asks"])).lower())
        assert {"ppo", "nlpo"} <= set(words)
    assert shown(capsys, *results, "--search", "uppo") == []  # a part of a word: su-ppo-rted is none of PPO
    assert {v["id"].split("-")[0] for v in shown(capsys, *results, "--task", "answers")} == {"answers"}
    assert main(["claims", "--scale", "smoke", *results, "--verdict", "maybe"]) == 1
    assert "supported, refuted, inconclusive, not run" in capsys.readouterr().err


def test_colour_is_for_a_terminal_that_wants_it(world, capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    command = ["claims", "--scale", "smoke", "--results", str(world), "--search", "NLPO"]
    assert main(command) == 0 and "\x1b[38;5;36m✓ supported\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(command) == 0 and "\x1b" not in capsys.readouterr().out


def test_a_scale_without_records_says_what_makes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    assert main(["claims", "--scale", "lab"]) == 0
    printed = capsys.readouterr().out
    assert "0 supported, 0 refuted, 0 inconclusive" in printed and "`make lab` makes them." in printed
    assert {v.verdict for v in claims.verdicts("lab")} == {"not run"}


def test_lab_is_judged_on_the_coefficients_that_it_has(tmp_path):
    """Claims speak of roles: nothing that lab lacks, and lab's own strong and weak KL."""
    for seed in range(3):
        for beta, end in ((0.0, 95.0), (0.02, 80.0), (0.1, 75.0)):
            make(tmp_path, "ppo", seed, line(0.55, 0.75), line(65.0, end), scale="lab", beta=beta)
        make(tmp_path, "nlpo", seed, line(0.55, 0.7), line(65.0, 90.0), scale="lab")
        for beta in (0.0, 0.02):
            ends = dict(resets=[(20, 0.58, 66.0)], scale="lab", beta=beta)
            make(tmp_path, "elastic", seed, line(0.55, 0.75), line(65.0, 70.0 + (beta == 0)), **ends)
        for method in ("to_ema", "to_init", "track"):
            make(tmp_path, method, seed, line(0.55, 0.75), line(65.0, 80.0), scale="lab")
    ledger = {v.id: v for v in claims.verdicts("lab", tmp_path, ["sentiment"])}
    run = {name.removeprefix("sentiment-"): v.verdict for name, v in ledger.items() if v.verdict != "not run"}
    assert run["elastic-over-every-baseline"] == run["elastic-cheaper-for-every-reward"] == "supported"
    assert run["elastic-no-kl-matches-ppo"] == run["kl-and-reset-best"] == run["elastic-over-to-ema"] == "supported"
    assert run["larger-beta-better-frontier"] == run["trunk-is-ppo"] == "supported"
    assert ledger["sentiment-steadier-than-ppo"].verdict == "not run"  # a sweep that only pocket has
    assert not set(run) & {"robust-to-decay", "five-resets-over-to-ema", "anchor-does-not-matter"}


def test_a_statement_counts_once_and_says_what_it_asks():
    every = {claim.id: claim for claim in claims.every_claim()}
    counted = {name for name, claim in every.items() if not claim.again and not claim.apart}
    assert set(claims.HEADLINES) <= counted and len(claims.HEADLINES) == 6
    assert {claim.again for claim in every.values()} - {""} <= counted
    assert all(claim.unit and claim.asks for claim in every.values())
    exact = {name for name, claim in every.items() if claim.apart == BY_CONSTRUCTION}
    assert exact == {
        "translation-frozen-does-not-drift", "sentiment-trunk-is-ppo", "sentiment-one-reset-is-to-ema",
        "answers-elastic-tracks-ppo", "answers-average-is-adapter",
    }  # fmt: skip


def test_the_tally_counts_statements_not_rows(full):
    ledger = claims.verdicts("smoke", full)
    beaten = [v for v in ledger if "elastic-over-every-baseline" in v.again + v.id and v.id.startswith("sentiment")]
    assert [v.verdict for v in beaten] == ["supported"] * 4 and [v.counts() for v in beaten].count(True) == 1
    assert tally(beaten) == "1 supported, 0 refuted, 0 inconclusive, 0 not run"
    assert summed_up(beaten).endswith(
        "Not counted: 3 rows that show one of them again, 0 that hold by construction, 0 of ours."
    )


def test_every_logged_column_is_in_the_glossary(world):
    record = Evidence("sentiment", "smoke", [world]).of("ppo")[0]
    assert tuple(record.curve().columns) == columns("sentiment")
    with pytest.raises(ValueError, match="without a word in the glossary"):
        record.add({"step": 1, "reset": 0, "mystery": 1.0}, [])
