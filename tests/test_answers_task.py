"""The answers task: texts that end, adapters on top of frozen weights, three judges, an exam, several processes."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from elastic_lib import losses, sandbox
from elastic_lib.loops import processes, rehearsal
from elastic_lib.loops.checks import RunFailed
from elastic_lib.loops.ppo import PPO, PPOSettings
from elastic_lib.nets import transformers_lm
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.learned import learned, relearn
from elastic_lib.nets.sampler import logp_of, sample
from elastic_lib.recipe import Recipe
from elastic_lib.records.record import Record, columns
from elastic_lib.run import run
from elastic_lib.tasks import scores
from elastic_lib.tasks.answers import world
from elastic_lib.tasks.answers.exam import Exam
from elastic_lib.tasks.answers.task import JUDGES, Answers
from elastic_lib.tasks.bases import pretrained

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
QUIET = dict(exam="none")  # what no sandbox is needed for
RECIPE = Recipe("answers", "elastic", "smoke", 0, **QUIET)


@pytest.fixture(scope="module")
def base(shared):
    """The folder of the smoke base."""
    pretrained(RECIPE, shared)
    return shared / "bases" / RECIPE.base_key


def small_lm(adapted=True):
    torch.manual_seed(0)
    model = transformers_lm.llama("CausalLM", 40, 16, 2, 2, 64)
    if adapted:
        transformers_lm.adapted(model, 4, 8, ("q_proj", "v_proj"), 0)
    return transformers_lm.CausalLM(model.eval())


def timeless(record):
    curve = record.curve()
    return curve[[name for name in curve if not name.startswith("t_")]].to_csv(), record.status()["fingerprint"]


# ---- the net


def prompts():
    rows = torch.randint(3, 40, (12, 9), generator=torch.Generator().manual_seed(1))
    for i, row in enumerate(rows):
        row[: i % 5] = PAD
    return rows


def test_pads_before_a_text_change_nothing():
    lm, rows = small_lm(), prompts()
    for row in rows:
        bare = row[row != PAD][None]
        padded = lm.logits(row[None])[:, -bare.shape[1] :]
        torch.testing.assert_close(padded, lm.logits(bare), atol=1e-5, rtol=1e-5)


def test_the_sampler_and_the_scorer_agree_on_padded_prompts_and_ended_texts():
    lm, rows = small_lm(), prompts()
    drawn = sample(lm, rows, 16, generator=torch.Generator().manual_seed(0), banned=(0, 1), stop=2)
    scored, _ = logp_of(lm, drawn.tokens, 9, banned=(0, 1))
    said = drawn.tokens[:, 9:] != PAD
    assert said.sum(1).unique().numel() > 2  # texts of several lengths
    torch.testing.assert_close(scored[said], drawn.logp[said], atol=1e-5, rtol=1e-5)


def test_a_reward_model_reads_the_last_word_wherever_it_stands():
    torch.manual_seed(0)
    judge = transformers_lm.RewardModel(transformers_lm.llama("SequenceClassification", 40, 16, 2, 2, 64).eval())
    rows = torch.cat([prompts(), torch.zeros(12, 3, dtype=torch.long)], 1)  # pads on both sides
    alone = torch.cat([judge(row[row != PAD][None]) for row in rows])
    torch.testing.assert_close(judge(rows), alone, atol=1e-5, rtol=1e-5)


def test_adapters_change_nothing_at_first_and_are_all_that_is_trained():
    plain, lm = small_lm(adapted=False), small_lm()
    rows = prompts()
    assert torch.equal(plain.logits(rows), lm.logits(rows))
    trained = [name for name, p in lm.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert set(learned(lm)) == set(trained)
    with pytest.raises(ValueError, match="another network"):
        relearn(lm, dict(list(learned(lm).items())[1:]))


# ---- losses of texts that end


def test_only_acts_count():
    acts = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.tensor([[1.0, 2.0, 50.0], [6.0, 70.0, 80.0]])
    assert float(losses.mean(x, acts)) == 3.0
    white = losses.whiten(x, acts)
    chosen = torch.tensor([1.0, 2.0, 6.0])
    torch.testing.assert_close(white[acts], (chosen - 3) / (chosen.std() + 1e-8))
    assert (white[~acts] == 0).all()
    advantages = torch.tensor([[1.0, -1.0, 9.0], [2.0, 9.0, 9.0]])
    same = torch.zeros(2, 3)
    assert float(losses.ppo_clip(same, same, advantages, 0.2, acts)) == pytest.approx(-2 / 3)
    assert float(losses.value_clip(x, x, x + 2, 10.0, acts)) == pytest.approx(2.0)


def test_an_end_that_is_forced_is_no_act_and_the_reward_comes_at_the_last_act(base):
    task = Answers(RECIPE, base)
    loop = task.loop()
    seen = {}
    plain = losses.gae

    def watched(rewards, values, *how):
        seen["rewards"], seen["values"] = rewards.clone(), values.clone()
        return plain(rewards, values, *how)

    losses.gae, loop.beta = watched, 0.0
    try:
        drawn = sample(
            loop.policy, task.prompts(8, loop.generator), RECIPE.length, generator=loop.generator,
            banned=task.banned, stop=task.stop,
        )  # fmt: skip
        batch, _ = loop._score(drawn)
    finally:
        losses.gae = plain
    ends = drawn.tokens[:, -drawn.logp.shape[1] :] == task.stop
    assert ends.sum(1).eq(1).all()
    for row, (acts, end) in enumerate(zip(batch.acts, ends, strict=True)):
        last = int(end.nonzero()[0])
        forced = last == RECIPE.length - 1
        assert int(acts.sum()) == (last if forced else last + 1)
        paid = seen["rewards"][row].nonzero()[:, 0]
        assert paid.tolist() == [int(acts.sum()) - 1]
    assert (seen["values"][~batch.acts] == 0).all()


def test_the_value_head_learns_and_stays_out_of_the_average(base):
    loop = Answers(RECIPE, base).loop()
    before = {name: p.clone() for name, p in loop.value.state_dict().items()}
    frozen = {name: p.clone() for name, p in loop.policy.named_parameters() if not p.requires_grad}
    loop.update()
    assert not torch.equal(before["weight"], loop.value.state_dict()["weight"])
    assert all(torch.equal(p, dict(loop.policy.named_parameters())[name]) for name, p in frozen.items())
    assert all("lora_" in name for name in loop.resetting.elastic.parameters)
    assert set(loop.resetting.elastic.parameters) == set(learned(loop.policy))


# ---- the run


def test_a_record_of_answers(made):
    record = made(RECIPE)
    curve, status = record.curve(), record.status()
    assert tuple(curve.columns) == columns("answers")
    assert curve["step"].tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert curve[["task", "drift", "judge_1", "judge_2", "words", "has_code", "compiles"]].notna().all().all()
    assert status["averaged"]["parameters"] == status["averaged"]["adapters"] < status["averaged"]["model"]
    assert {"task", "drift", "judge_1", "judge_2"} <= set(status["test"])
    judged = record.env()["pretrained"]
    assert set(judged) == {"lm", *JUDGES} and all(0 <= judged[part]["accuracy"] <= 1 for part in JUDGES)
    assert all("lora_" in name for name in load_file(record.path / "checkpoint" / "policy.safetensors"))


def test_judges_differ_and_are_measured_in_deviations(base):
    task = Answers(RECIPE, base)
    texts = task.split("validation").texts
    given = [task.reward(texts, judge) for judge in range(3)]
    for rewards in given:
        assert float(rewards.mean()) == pytest.approx(0, abs=1e-3)
        assert float(rewards.std()) == pytest.approx(1, abs=1e-3)
    assert not torch.equal(given[0], given[1]) and not torch.equal(given[1], given[2])


def test_elastic_is_ppo_until_its_first_reset(made):
    elastic = made(RECIPE).curve()
    ppo = made(Recipe("answers", "ppo", "smoke", 0, **QUIET)).curve()
    until = RECIPE.reset.reset_every
    shared = ["task", "drift", "kl", "reward"]
    mine = elastic[(elastic["step"] <= until) & (elastic["reset"] == 0)][shared].reset_index(drop=True)
    theirs = ppo[ppo["step"] <= until][shared].reset_index(drop=True)
    assert mine.equals(theirs)
    assert not elastic[elastic["step"] == 4]["task"].equals(ppo[ppo["step"] == 4]["task"])


def test_a_killed_run_goes_on_bit_for_bit(made, results, monkeypatch):
    expected = timeless(made(RECIPE))
    plain, deaths = PPO.update, {1, 3, 4}

    def dies(self):
        if self.step in deaths:
            deaths.remove(self.step)
            raise KeyboardInterrupt
        return plain(self)

    monkeypatch.setattr(PPO, "update", dies)
    while deaths:
        with pytest.raises(KeyboardInterrupt):
            run(RECIPE, results)
    assert timeless(Record(run(RECIPE, results))) == expected


TWO = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
TWO += ["--mixed_precision", "no", "--dynamo_backend", "no"]  # by torchrun, as accelerate starts them
STRAIGHT_KILLED_RESUMED = """
import hashlib, json, sys
from pathlib import Path
from elastic_lib import cli
from elastic_lib.loops import processes
from elastic_lib.loops.ppo import PPO
from elastic_lib.records.record import Record

plain = PPO.tick

def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()

def tick(self):
    if self.step == death:  # the one that writes has just written a row
        raise KeyboardInterrupt
    due = plain(self)
    elastic = self.resetting.elastic
    seen = {"policy": digest(elastic.parameters.values()), "ema": digest(elastic.ema.values()),
            "samples": digest([self.generator.get_state()])}
    (results / f"digest-{processes.rank()}.json").write_text(json.dumps(seen))
    return due

PPO.tick = tick
straight, killed, run_id = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
words = ["run", "answers", "elastic", "--scale", "smoke", "--set", "exam=none", "--results"]
with processes.joined():
    assert cli.main([*words, str(straight.parent / "without-pretrained-models")]) == 1  # at once, on every process
    for results, death, code in ((straight, None, 0), (killed, 4, 130), (killed, None, 0)):
        assert cli.main([*words, str(results)]) == code
        if death and processes.rank() == 0:  # a row without its checkpoint
            record = Record(results / "records" / run_id)
            assert record.status()["status"] == "running" and record.curve()["step"].max() == death
"""


def written_once(results):
    """The record of a run that two processes shared."""
    record = Record(results / "records" / RECIPE.run_id)
    assert record.done() and record.env()["processes"] == 2
    assert record.curve()["step"].tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    digests = [json.loads((results / f"digest-{rank}.json").read_text()) for rank in (0, 1)]
    assert digests[0]["policy"] == digests[1]["policy"] and digests[0]["ema"] == digests[1]["ema"]
    assert digests[0]["samples"] != digests[1]["samples"]  # each has its own share
    return record


def test_two_processes_share_a_run_write_it_once_and_when_killed_go_on_bit_for_bit(base, tmp_path):
    """Two processes make a whole run, one that is interrupted, and the rest of that."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for results in (straight, killed):
        results.mkdir()
        (results / "bases").symlink_to(base.parent)
    (tmp_path / "script.py").write_text(STRAIGHT_KILLED_RESUMED)
    command = [sys.executable, "-m", *TWO, str(tmp_path / "script.py"), str(straight), str(killed), RECIPE.run_id]
    environment = ENV | {"PYTHONPATH": os.getcwd(), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert timeless(written_once(killed)) == timeless(written_once(straight))


def test_one_process_has_nothing_to_share():
    assert (processes.size(), processes.rank(), processes.share("batch", 7)) == (1, 0, 7)
    state = torch.Generator().manual_seed(3).get_state()
    assert processes.own(processes.gather(state)) is state
    with pytest.raises(ValueError, match="left by 2 processes"):
        processes.own(torch.stack([state, state]))


# ---- the exam


class Scripted:
    """A task whose answers are known beforehand."""

    def __init__(self, said, recipe):
        self.said, self.recipe = said, recipe

    def exam_prompt(self, question):
        return [1]

    def padded(self, rows):
        return torch.ones(len(rows), 1, dtype=torch.long)

    def answer(self, lm, prompts, generator, length):
        return torch.cat([prompts, torch.arange(len(prompts))[:, None] + 3], 1)

    def text(self, tokens):
        return self.said[int(tokens[0]) - 3]


needs_sandbox = pytest.mark.skipif(sandbox.missing() is not None, reason=f"no sandbox here: {sandbox.missing()}")


@needs_sandbox
def test_the_exam_runs_what_is_answered():
    recipe = Recipe("answers", "ppo", "smoke", exam_questions=2, exam_samples=4)
    problems = world.exam(2, seed=10**6 + 3)
    right = [f"try this : ⏎ ``` ⏎ {p.solution.replace('    ', ' ⇥ ').replace(chr(10), ' ⏎ ')} ⏎ ```" for p in problems]
    wrong, none = "``` ⏎ def f ( xs ) : ⏎ ⇥ return 'no' ⏎ ```", "use another language ."
    exam = Exam(Scripted([right[0], wrong, none, right[0], wrong, none, wrong, none], recipe))
    assert exam.sit(None) == {"pass_at_1": pytest.approx(0.25)}  # 2 of 4, and 0 of 4


def test_without_a_sandbox_the_exam_is_left_out(monkeypatch):
    monkeypatch.setattr(sandbox, "missing", lambda: "bubblewrap is not installed: apt install bubblewrap")
    recipe = Recipe("answers", "ppo", "smoke")
    with pytest.warns(UserWarning, match="apt install bubblewrap"):
        assert Exam(Scripted([], recipe)).sit(None) == {}


def test_a_reward_that_is_no_number_is_refused(base, monkeypatch):
    task = Answers(RECIPE, base)
    monkeypatch.setattr(task, "reward", lambda tokens: torch.full((len(tokens),), torch.nan))
    with pytest.raises(RunFailed, match="the reward is nan at update 1"):
        task.loop().update()


# ---- an advantage model, and selective rehearsal


def test_of_each_cluster_the_best_are_rehearsed():
    """Three clouds far apart, of 8, 8 and 2 points; pay is the row's number, so that a cloud's last are its best."""
    centres = torch.tensor([[0.0, 0.0]] * 8 + [[50.0, 0.0]] * 8 + [[0.0, 50.0]] * 2)
    points = centres + torch.rand(18, 2, generator=torch.Generator().manual_seed(3))
    for seed in range(20):
        found = rehearsal.best_of_clusters(points, torch.arange(18.0), 3, 3, torch.Generator().manual_seed(seed))
        if len(rehearsal.k_means(points, 3, torch.Generator().manual_seed(seed)).unique()) == 3 and len(found) == 8:
            assert found.tolist() == [5, 6, 7, 13, 14, 15, 16, 17]
            return
    pytest.fail("no start of 20 finds three clouds")


def test_what_is_rehearsed_is_added_to_the_loss(base):
    recipe = Recipe("answers", "ppo", "smoke", 0, **QUIET, rehearsal=0.5)
    loop = Answers(recipe, base).loop()
    plain = Answers(Recipe("answers", "ppo", "smoke", 0, **QUIET), base).loop()
    batch = loop._score(loop._sample())[0]
    before = loop.generator.get_state()
    loss = loop._loss(batch)[0]
    loop.generator.set_state(before)
    again = loop.rehearsed.some(len(batch.tokens), loop.generator)
    logp, _ = logp_of(loop.policy, again.tokens, again.tokens.shape[1] - again.acts.shape[1], **loop.shape)
    counted = [row[acts].sum() for row, acts in zip(logp, again.acts, strict=True)]
    expected = plain._loss(batch)[0] - 0.5 * sum(counted) / again.acts.sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert not again.acts[:, -1].any() and (again.tokens[:, -recipe.length :][again.acts] != PAD).all()
    with pytest.raises(ValueError, match="needs texts"):
        PPO(loop.policy, loop.value, loop.prompts, loop.reward, recipe.numbers(PPOSettings))


def test_a_run_that_rehearses_goes_on_where_it_stood(made, tmp_path, shared):
    recipe = Recipe("answers", "ppo", "smoke", 0, **QUIET, rehearsal=0.5)
    plain = Recipe("answers", "ppo", "smoke", 0, **QUIET)
    assert (made(recipe).curve()["drift"].iloc[1:] != made(plain).curve()["drift"].iloc[1:]).all()
    first, second = (pretrained(recipe, shared).loop() for _ in range(2))
    first.update(), first.update()
    second.load_state_dict(first.state_dict())
    assert first.update() == second.update()


def test_the_bounds_of_an_advantage_model_are_what_their_formula_says():
    better, worse = torch.tensor([0.5, 3.0]), torch.tensor([-1.0, 0.2])

    def sigma(x):
        return 1 / (1 + math.exp(-x))

    expected = -sum(math.log(sigma(2.5 - a)) + math.log(sigma(2.5 + b)) for a, b in ((0.5, -1.0), (3.0, 0.2))) / 2
    assert float(losses.beyond_bound(better, worse, 2.5)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.preferred(better, worse)) == pytest.approx(
        -(math.log(sigma(1.5)) + math.log(sigma(2.8))) / 2, rel=1e-6
    )


def test_only_what_is_optimised_is_an_advantage_model(shared, base):
    bound = Recipe("answers", "ppo", "smoke", 0, **QUIET, rm_bound=0.3)
    assert bound.base_key != RECIPE.base_key
    assert Recipe("answers", "ppo", "lab", 0, rm_name="other").base_key != Recipe("answers", "ppo", "lab", 0).base_key
    pretrained(bound, shared)
    folder = shared / "bases" / bound.base_key
    same = {part: (folder / f"{part}.safetensors").read_bytes() == (base / f"{part}.safetensors").read_bytes()
            for part in ("lm", *JUDGES)}  # fmt: skip
    assert same == {"lm": True, "rm": False, "rm_1": True, "rm_2": True}


def test_calibration_is_known_where_it_is_known():
    margins = torch.tensor([0.0] * 4 + [math.log(9)] * 9 + [-math.log(9)])  # half, and 90% sure: 9 of 10 are right
    assert scores.calibration_error(margins) == pytest.approx(4 / 14 * 0.5, abs=1e-6)  # of a tie none is right
    assert scores.calibration_error(torch.tensor([20.0, -20.0])) == pytest.approx(0.5, abs=1e-6)


def test_rivals_of_sentiment_learn_here_too(made):
    """The line ends where the run that it leads to does; a reference that moves is another one from its move on."""
    line, track, plain = (
        made(Recipe("answers", method, "smoke", 0, **QUIET)).curve() for method in ("line", "track", "ppo")
    )
    assert line["drift"].iloc[[0, -1]].tolist() == track["drift"].iloc[[0, -1]].tolist()
    assert line["drift"].iloc[2] != track["drift"].iloc[2]
    same = dict(beta=plain["beta"].iloc[0], **QUIET)
    moved = made(Recipe("answers", "reference", "smoke", 0, **same)).curve()
    every = Recipe("answers", "reference", "smoke").reference_every
    assert moved["kl"].iloc[1 : every + 1].tolist() == plain["kl"].iloc[1 : every + 1].tolist()
    assert moved["kl"].iloc[every + 1] != plain["kl"].iloc[every + 1]
