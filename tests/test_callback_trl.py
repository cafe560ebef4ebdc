"""The callback in TRL's trainers, really run: RLOO, GRPO, SFT, DPO and reward models, in full and with LoRA."""

import contextlib
import gc
import io
import re

import pytest
import torch

from elastic_lib.records.files import ROOT

COMMON = {"max_steps": 8, "learning_rate": 1e-2, "logging_steps": 1, "per_device_train_batch_size": 4}
COMMON |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What takes seconds to import is imported by the first of these tests, not when tests are collected."""
    global trl, AutoModelForCausalLM, Dataset, LoraConfig, get_peft_model, ElasticResetCallback
    global Recorder, check_by_hand, lines, resets_logged, same, save_tiny
    import trl
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from trainers import Recorder, check_by_hand, lines, resets_logged, same, save_tiny
    from transformers import AutoModelForCausalLM

    from elastic_lib.callback import ElasticResetCallback

    gc.freeze()  # a trainer collects garbage after each run: what is imported is none


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model and its tokenizer on disk: the references of RLOO and GRPO are loaded from there again."""
    folder = tmp_path_factory.mktemp("base")
    save_tiny(folder)
    return str(folder)


def lora(seed=0):
    torch.manual_seed(seed)
    return LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def phrases(number, shift=0):
    return [f"w{(i + shift) % 30} w{(i * 7 + shift) % 30} w{(i * 3) % 30}" for i in range(number)]


def share_of_early_words(completions, **kwargs):
    return [sum(int(word[1:]) < 18 for word in c.split() if word[1:].isdigit()) / 6 for c in completions]


def online(base, folder, kind, callback, *others, peft=None, resume=None, trainer=None, **settings):
    """`kind`: RLOO or GRPO."""
    config, trainer = getattr(trl, f"{kind}Config"), trainer or getattr(trl, f"{kind}Trainer")
    sampling = {"num_generations": 2, "max_completion_length": 6, "beta": 0.05, "save_steps": 4}
    made = trainer(
        model=base,
        reward_funcs=share_of_early_words,
        args=config(output_dir=str(folder), **COMMON | sampling | settings),
        train_dataset=Dataset.from_dict({"prompt": phrases(32)}),
        callbacks=[callback, *others],
        peft_config=peft,
    )
    seen = Recorder(callback)
    made.add_callback(seen)
    made.train(resume_from_checkpoint=resume)
    return made, seen


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["RLOO", "GRPO"])
def test_online_trainers_follow_the_formula_and_resume(base, tmp_path, kind, peft):
    def go(resume=None):
        callback = ElasticResetCallback(decay=0.8, reset_every=3)
        return online(base, tmp_path, kind, callback, peft=lora() if peft else None, resume=resume)

    straight, expected = go()
    check_by_hand(expected, 0.8, resets={3, 6})
    assert all(("lora" in name) == peft for name in expected.start)
    assert resets_logged(straight) == [0, 0, 1, 0, 0, 1, 0, 0]
    made, seen = go(resume=str(tmp_path / "checkpoint-4"))
    assert list(seen.after) == [5, 6, 7, 8]
    for step in seen.after:
        assert same(seen.after[step], expected.after[step]) and same(seen.ema[step], expected.ema[step])
    assert same(seen.callback.elastic.initial, expected.start)
    timeless = [
        [{k: v for k, v in line.items() if k != "step_time"} for line in lines(run)] for run in (made, straight)
    ]
    assert timeless[0] == timeless[1]


def test_another_adapter_at_a_resume_is_refused(base, tmp_path):
    def go(adapter, resume=None):
        settings = COMMON | {"max_steps": 2 if resume is None else 4, "save_steps": 2}
        args = trl.SFTConfig(output_dir=str(tmp_path), **settings)
        data, callback = Dataset.from_dict({"text": phrases(16)}), ElasticResetCallback(decay=0.5, reset_every=2)
        more = {"train_dataset": data, "callbacks": [callback], "peft_config": adapter}
        trl.SFTTrainer(model=base, args=args, **more).train(resume_from_checkpoint=resume)

    go(lora())
    other = LoraConfig(r=2, target_modules=["o_proj", "v_proj"], task_type="CAUSAL_LM")  # as many weights
    with pytest.raises(ValueError, match="checkpoint-2 was saved with another adapter, model or select="):
        go(other, resume=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize(
    ("per_generation", "iterations", "accumulation"),
    [
        (1, 1, 1),
        (4, 1, 4),
        (4, 1, 1),
        (2, 2, 1),
        (2, 3, 2),
        (3, 1, 2),  # a buffer ends inside every other step, and an epoch of 15 micro-batches on half a step
        (2, 2, 3),
        (5, 1, 1),
    ],
)
def test_no_reset_falls_inside_a_generation_buffer(base, tmp_path, per_generation, iterations, accumulation):
    history = []  # in the order in which things happened; a number is the end of that step

    class Watched(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            history.append("generated")
            return super()._generate_and_score_completions(inputs)

        def training_step(self, *inputs, **more):
            history.append("used")
            loss = super().training_step(*inputs, **more)
            if self.accelerator.sync_gradients:
                history.append(self.state.global_step + 1)
            return loss

    settings = {"steps_per_generation": per_generation, "num_iterations": iterations, "max_steps": 11}
    settings |= {"gradient_accumulation_steps": accumulation, "beta": 0.0, "save_strategy": "no"}
    callback = ElasticResetCallback(decay=0.8, reset_every=3)
    _, seen = online(base, tmp_path, "GRPO", callback, trainer=Watched, **settings)
    resets, due = set(), False
    for step in range(1, 12):
        due = due or step % 3 == 0
        if due and (step == 11 or history[history.index(step) + 1 :][:2] == ["used", "generated"]):
            resets.add(step)
            due = False
    assert len(resets) >= 2
    check_by_hand(seen, 0.8, resets)


def test_an_average_once_a_rollout(base, tmp_path):
    callback = ElasticResetCallback(decay=0.5, reset_every=4, ema_every="rollout")
    settings = {"steps_per_generation": 2, "gradient_accumulation_steps": 1, "save_strategy": "no"}
    _, seen = online(base, tmp_path, "RLOO", callback, **settings)
    check_by_hand(seen, 0.5, {4, 8}, averaged=lambda step: step % 2 == 0)


def test_both_clocks_wait_for_the_end_of_a_buffer(base, tmp_path):
    # θ̄ ← θ0 at step 3 and θ ← θ̄ at step 4 would throw the policy back to θ0
    settings = {"steps_per_generation": 4, "gradient_accumulation_steps": 1, "save_steps": 3}

    def go(resume=None):
        return online(
            base, tmp_path, "GRPO", ElasticResetCallback(0.8, 3, ema_reset_every=3), resume=resume, **settings
        )

    _, seen = go()
    check_by_hand(seen, 0.8, {4, 8})
    # what waits in step 3 is in its checkpoint; a resumed run has no completions to keep and need not wait any longer
    _, resumed = go(resume=str(tmp_path / "checkpoint-3"))
    average = {name: torch.lerp(seen.start[name], p, 1 - 0.8) for name, p in resumed.before[4].items()}
    assert same(resumed.start, seen.ema[3]) and same(resumed.ema[4], average)


def test_the_reference_stays_where_it_was(base, tmp_path):
    made, seen = online(base, tmp_path, "GRPO", ElasticResetCallback(decay=0.8, reset_every=3), save_strategy="no")
    assert same(dict(made.ref_model.named_parameters()), seen.start)
    kl = [line["kl"] for line in made.state.log_history if "kl" in line]
    assert kl[0] == pytest.approx(0, abs=1e-6) and max(kl) > 1e-4


SYNCED = {"sync_ref_model": True, "ref_model_mixup_alpha": 1.0, "ref_model_sync_steps": 4}


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_a_reference_that_is_reset_too_takes_the_policy_after_its_reset(base, tmp_path, peft):
    callback, settings = ElasticResetCallback(decay=0.8, reset_every=2), {"max_steps": 5, "save_strategy": "no"}
    if peft:
        page, said = (ROOT / "docs" / "callback.md").read_text(), {}
        exec(re.search(r"<!-- reference -->\n```python\n(.*?)```\n", page, re.S)[1], said)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora())  # TRL then makes a second adapter
        made, seen = online(model, tmp_path, "GRPO", callback, said["ReferenceReset"](every=4), **settings)
        held = {n: p for n, p in made.model.named_parameters() if ".ref." in n}
        held = {name.replace(".ref.", ".default."): p for name, p in held.items()}
    else:
        made, seen = online(base, tmp_path, "GRPO", callback, **settings, **SYNCED)
        held = dict(made.ref_model.named_parameters())
    check_by_hand(seen, 0.8, resets={2, 4})
    assert held and same(held, seen.after[4])
    kl = [line["kl"] for line in made.state.log_history if "kl" in line]
    assert abs(kl[4]) < 1e-6 < kl[3]  # of the completions that a step begins with


def finished(made, callback):
    seen = Recorder(callback)
    made.add_callback(seen)
    made.train()
    return seen


def test_supervised_fine_tuning_with_accumulation(base, tmp_path):
    callback = ElasticResetCallback(decay=0.8, reset_every=3)
    args = trl.SFTConfig(output_dir=str(tmp_path), gradient_accumulation_steps=2, save_strategy="no", **COMMON)
    data = Dataset.from_dict({"text": phrases(64)})
    seen = finished(trl.SFTTrainer(model=base, args=args, train_dataset=data, callbacks=[callback]), callback)
    check_by_hand(seen, 0.8, resets={3, 6})


def test_preferences_with_lora_leave_the_reference_alone(base, tmp_path):
    callback = ElasticResetCallback(decay=0.8, reset_every=3, optimizer="clear")
    args = trl.DPOConfig(output_dir=str(tmp_path), save_strategy="no", **COMMON)
    pairs = Dataset.from_dict({"prompt": phrases(32), "chosen": phrases(32, 3), "rejected": phrases(32, 11)})
    made = trl.DPOTrainer(model=base, args=args, train_dataset=pairs, callbacks=[callback], peft_config=lora())
    seen = finished(made, callback)
    check_by_hand(seen, 0.8, resets={3, 6})
    assert seen.start and all("lora" in name for name in seen.start)
    words = torch.tensor([[3, 9, 17, 21]])
    with torch.no_grad(), made.model.disable_adapter():
        reference = made.model(words).logits
    with torch.no_grad():
        assert torch.equal(reference, AutoModelForCausalLM.from_pretrained(base)(words).logits)
        assert not torch.equal(reference, made.model(words).logits)


def test_a_reward_model_without_its_head(base, tmp_path):
    callback = ElasticResetCallback(decay=0.8, reset_every=3, select=lambda name: not name.startswith("score"))
    args = trl.RewardConfig(output_dir=str(tmp_path), save_strategy="no", **COMMON)
    pairs = Dataset.from_dict({"chosen": phrases(32, 3), "rejected": phrases(32, 11)})
    made = trl.RewardTrainer(model=base, args=args, train_dataset=pairs, callbacks=[callback])
    seen = finished(made, callback)
    check_by_hand(seen, 0.8, resets={3, 6})
    assert "score.weight" in dict(made.model.named_parameters()) and "score.weight" not in seen.start


def test_the_example_of_the_readme_runs_and_resets(base, tmp_path, monkeypatch):
    found = re.search(
        r"<!-- callback -->\n```python\n(.*?)```\n<!-- /callback -->", (ROOT / "README.md").read_text(), re.S
    )
    assert len([line for line in found.group(1).splitlines() if line.strip()]) <= 10
    code, names = re.subn(r'GRPOTrainer\("[^"]+"', f"GRPOTrainer({base!r}", found.group(1))
    code, settings = re.subn(r'GRPOConfig\("out",', 'GRPOConfig("out", use_cpu=True, report_to="none",', code)
    code, steps = re.subn("max_steps=120", "max_steps=60", code)  # a reset is due at step 50
    assert names == settings == steps == 1
    monkeypatch.chdir(tmp_path)
    seen = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, seen)
    assert seen["elastic"].elastic.resets >= 1
