"""Recipes: what they refuse, and that a run_id is a function of what is set."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from elastic_lib.recipe import Recipe, ResetPlan, parse_setting
from elastic_lib.recipe.grid import grid
from elastic_lib.tasks import SCALES, facts

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", facts("sentiment").METHODS)
def test_every_method_has_a_recipe_at_every_scale_and_goes_round(scale, method):
    recipe = Recipe("sentiment", method, scale, 3)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert (recipe.reset is not None) == (
        method in ("elastic", "to_ema", "to_init", "track", "elastic_reference", "bema")
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("sentimnt", "ppo"), "unknown task 'sentimnt'; did you mean sentiment"),
        (("sentiment", "elastc"), "unknown method of sentiment 'elastc'; did you mean elastic"),
        (("sentiment", "zzz"), "known: ppo, nlpo, elastic, to_ema, to_init, track"),
        (("sentiment", "ppo", "poket"), "unknown scale 'poket'; did you mean pocket"),
        (("sentiment", "ppo", "pocket", -1), "seed must be a whole number from 0 to 999999999; got -1"),
        (("sentiment", "ppo", "pocket", 1.5), "seed must be a whole number"),
    ],
)
def test_unknown_names_are_refused_with_the_near_misses(given, says):
    with pytest.raises(ValueError, match=says):
        Recipe(*given)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bata": 0.1}, "unknown key 'bata'; did you mean beta"),
        ({"reset_evry": 3}, "did you mean reset_every"),
        ({"decay": 1.5}, "decay must be a number from 0 to 1; got 1.5"),
        ({"reset_every": 0}, "reset_every must be a whole number, 1 or more; got 0"),
        ({"kl_budget": 3.0}, "say when a reset is due, so that reset_every has to be none"),
        ({"min_interval": 3}, "set kl_budget or min_slope too"),
        ({"beta": -0.1}, "beta must be a number, 0 or more; got -0.1"),
        ({"beta": "much"}, "beta must be a number, 0 or more; got 'much'"),
        ({"beta": float("nan")}, "beta must be"),
        ({"lr": 0}, "lr must be a number above 0; got 0"),
        ({"lr": None}, "lr must be a number above 0; got None"),
        ({"updates": True}, "updates must be a whole number"),
        ({"whiten": 1}, "whiten must be true or false; got 1"),
        ({"kl": "k2"}, "kl must be one of k1, k3, full; got 'k2'"),
        ({"ema_every": "batch"}, "ema_every must be one of step, epoch, rollout"),
        ({"batch": 64, "minibatch": 48}, "batch must be a multiple of minibatch; got 64 and 48"),
        ({"lm_width": 65}, "lm_width must be a multiple of lm_heads"),
        ({"length": 100}, "context must hold <bos>, the prompt and the sample, 113 tokens; got 80"),
        ({"lm_width": None}, "a model that is trained here needs lm_width too"),
        ({"corpus": "imdb"}, r"real reviews are read by a pretrained policy: say which \(lm_name\)"),
    ],
)
def test_wrong_settings_say_what_is_allowed(settings, says):
    with pytest.raises(ValueError, match=says):
        Recipe("sentiment", "elastic", "pocket", **settings)


def test_a_reset_setting_needs_a_reset():
    with pytest.raises(ValueError, match="decay belongs to a reset, and method 'ppo' has none"):
        Recipe("sentiment", "ppo", decay=0.9)
    with pytest.raises(ValueError, match="keeps a moving average"):
        Recipe("sentiment", "ppo", kl_anchor="ema")
    assert Recipe("sentiment", "elastic", kl_anchor="ema").kl_anchor == "ema"


def test_a_recipe_is_frozen():
    recipe = Recipe("sentiment", "ppo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.beta = 0.5


def test_run_id_depends_on_every_setting_and_on_nothing_else():
    plain = Recipe("sentiment", "elastic", "smoke", 1)
    assert plain.run_id == Recipe("sentiment", "elastic", "smoke", 1, beta=plain.beta).run_id
    changes = ({"beta": 0.5}, {"decay": 0.9}, {"target_kl": None}, {"lm_steps": 61}, {"optimizer": "clear"})
    others = [Recipe("sentiment", "elastic", "smoke", 1, **changed) for changed in changes]
    ids = {recipe.run_id for recipe in [plain, *others]}
    assert len(ids) == 6
    assert all(run_id.startswith("sentiment-elastic-s1-") and len(run_id) == 29 for run_id in ids)
    code = "from elastic_lib.recipe.recipe import Recipe; print(Recipe('sentiment', 'elastic', 'smoke', 1).run_id)"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == plain.run_id


def test_a_setting_that_is_set_to_none_survives_the_round_trip():
    recipe = Recipe("sentiment", "elastic", "pocket", 0, target_kl=None, reset_every=None)
    again = Recipe.from_dict(recipe.to_dict())
    assert (again.target_kl, again.reset.reset_every, again.run_id) == (None, None, recipe.run_id)
    assert recipe.changes() == {"target_kl": None, "reset_every": None}


def test_every_committed_run_keeps_its_name():
    tables = sorted((ROOT / "papermill_runs/reference").glob("*/runs.parquet"))
    assert {path.parent.name for path in tables} == {"pocket", "tuning", "lab", "beyond"}
    for path in tables:
        runs = pq.read_table(path, columns=["run_id", "recipe.json"])
        for run_id, stored in zip(*runs.to_pydict().values(), strict=True):
            assert Recipe.from_dict(json.loads(stored)).run_id == run_id


def test_a_reference_moves_only_where_a_recipe_says_so():
    assert "reference_every" not in Recipe("sentiment", "ppo").to_dict() | Recipe("answers", "elastic").to_dict()
    assert Recipe("sentiment", "ppo", reference_every=5).reset_numbers()["reference_every"] == 5
    with pytest.raises(ValueError, match="kl_anchor=initial"):
        Recipe("sentiment", "reference", kl_anchor="none")
    with pytest.raises(ValueError, match="say how often: reference_every"):
        Recipe("sentiment", "ppo", reference_rate=0.5)


def test_runs_share_a_base_where_pretraining_is_the_same():
    keys = {
        Recipe("sentiment", method, "pocket", seed, beta=0.5).base_key
        for method in ("ppo", "elastic")
        for seed in (0, 2)
    }
    assert len(keys) == 1
    assert Recipe("sentiment", "ppo", "pocket", 1).base_key not in keys
    assert Recipe("sentiment", "ppo", "pocket", 0, lm_steps=900).base_key not in keys
    assert [Recipe("sentiment", "ppo", seed=s).base for s in range(5)] == [0, 1, 0, 1, 0]


def test_the_command_remakes_the_recipe():
    recipe = Recipe("sentiment", "elastic", "smoke", 4, beta=1 / 3, reset_every=3, whiten=False, target_kl=None)
    argv = recipe.command("DIR")
    settings = dict(parse_setting(argv[i + 1]) for i, word in enumerate(argv) if word == "--set")
    assert Recipe(argv[2], argv[3], "smoke", 4, **settings) == recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("beta", "--set takes key=value; got 'beta'"),
        ("bet=1", "unknown key 'bet'; did you mean beta"),
        ("beta=lots", "beta must be a number, 0 or more; got 'lots'"),
        ("updates=7.5", "updates must be a whole number, 1 or more; got '7.5'"),
        ("whiten=perhaps", "whiten must be true or false"),
    ],
)
def test_settings_of_the_command_line(text, says):
    with pytest.raises(ValueError, match=says):
        parse_setting(text)


def test_grids_hold_no_run_twice():
    for full in (False, True):
        runs = grid("sentiment", "pocket", seeds=5, full=full)
        assert len({run.run_id for run in runs}) == len(runs)
    assert {run.run_id for run in grid("sentiment", "pocket", 5)} < {
        run.run_id for run in grid("sentiment", "pocket", 5, True)
    }


def test_a_plan_can_be_given_whole():
    plan = ResetPlan(mode="to_ema", decay=0.5, reset_every=7)
    assert Recipe("sentiment", "elastic", reset=plan).reset == plan


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", facts("translation").METHODS)
def test_every_method_of_the_game_has_a_recipe_at_every_scale_and_goes_round(scale, method):
    recipe = Recipe("translation", method, scale, 4)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert (recipe.reset is not None) == (method in ("elastic", "to_ema", "to_init"))
    assert recipe.parts == ("speaker", "listener", *(["lm"] if method == "kl_lm" else []))


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        ("reinforce", {"samples": 3}, "batch must be a multiple of samples; got 64 and 3"),
        ("reinforce", {"heads": 5}, "width must be a multiple of heads; got 64 and 5"),
        ("reinforce", {"length": 30}, "context must hold <bos> and the sample, 31 tokens; got 24"),
        ("reinforce", {"distance": "close"}, "distance must be one of near, middle, far; got 'close'"),
        ("reinforce", {"net": "gru"}, "net must be one of transformer, lstm"),
        ("reinforce", {"epochs": 4}, "epochs is no setting of translation"),
        ("reinforce", {"multitask": 0.5}, "multitask needs a multitask_batch"),
        ("reinforce", {"sil_teacher": 10}, "sil_teacher needs a sil_student and a sil_lr"),
        ("gumbel", {"beta": 0.1}, "beta is of a KL in the reward; with estimator=gumbel it has to be 0"),
        ("frozen", {"multitask": 1.0, "multitask_batch": 8}, "estimator=none freezes the speaker"),
        ("elastic", {"mode": "track"}, "mode=track and value=clear are of the tasks that PPO learns"),
        ("elastc", {}, "unknown method of translation 'elastc'; did you mean elastic"),
        ("reinforce", {"heads": None}, "net=transformer needs heads too"),
        ("kl_lm", {"lm_steps": None}, "kl_anchor=lm needs lm_steps too"),
        ("reinforce", {"distance": None}, "corpus=generated needs distance too"),
        ("reinforce", {"corpus": "multi30k"}, "corpus=multi30k needs pretraining, vocabulary, lowercase too"),
    ],
)
def test_wrong_settings_of_the_game_say_what_is_allowed(method, settings, says):
    with pytest.raises(ValueError, match=says):
        Recipe("translation", method, "pocket", **settings)


def test_a_setting_of_another_task_is_refused():
    with pytest.raises(ValueError, match="distance is no setting of sentiment"):
        Recipe("sentiment", "ppo", distance="far")
    with pytest.raises(ValueError, match="kl_anchor=lm is an English language model"):
        Recipe("sentiment", "ppo", kl_anchor="lm")


def test_a_net_brings_its_own_numbers_and_is_one_setting():
    recipe = Recipe("translation", "elastic", net="lstm")
    assert recipe.width == 128 and recipe.changes() == {"net": "lstm"} and recipe.label() == "elastic net=lstm"
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    wider = Recipe("translation", "elastic", net="lstm", width=256)
    assert wider.changes() == {"net": "lstm", "width": 256}
    assert Recipe("translation", "elastic", net="transformer") == Recipe("translation", "elastic")


def test_the_command_of_a_base_says_what_it_depends_on_and_nothing_else():
    recipe = Recipe("translation", "kl", "pocket", 4, distance="far", beta=0.2)
    argv = recipe.command("DIR", "listener")
    assert argv[:4] == ["elastic", "pretrain", "translation", "listener"]
    assert argv[4:] == ["--scale", "pocket", "--base", "1", "--results", "DIR", "--set", "distance=far"]
    same = Recipe("translation", "frozen", "pocket", base=1, distance="far")
    assert same.base_key == recipe.base_key


def test_a_corpus_belongs_to_its_task():
    assert Recipe("answers", "ppo", "lab", corpus="qa_feedback").corpus == "qa_feedback"
    with pytest.raises(ValueError, match="needs lm_width, lm_layers, lm_heads, vocabulary too"):
        Recipe("answers", "ppo", "lab", lm_name=None)
    with pytest.raises(ValueError, match="rm_batch must be a multiple of rm_micro; got 16 and 6"):
        Recipe("answers", "ppo", "lab", rm_batch=16, rm_micro=6)
    with pytest.raises(ValueError, match="needs lm_batch, lm_lr too"):
        Recipe("answers", "ppo", "paper", lm_steps=10)
    with pytest.raises(ValueError, match="corpus of answers must be generated or stackexchange or qa_feedback"):
        Recipe("answers", "ppo", "lab", corpus="imdb")
