"""The callback in a plain Trainer: every weight against a hand-made average, resumption, refusals."""

import gc
import json
import math
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from elastic_lib.records.files import DamagedRecord
from elastic_lib.reset import Adaptive, At


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What takes seconds to import is imported by the first of these tests, not when tests are collected."""
    global ElasticResetCallback, TrainerCallback
    global KL, check_by_hand, lines, resets_logged, same, texts, tiny, trained, trainer
    from trainers import KL, check_by_hand, lines, resets_logged, same, texts, tiny, trained, trainer
    from transformers import TrainerCallback

    from elastic_lib.callback import ElasticResetCallback

    gc.freeze()  # a trainer collects garbage after each run: what is imported is none


def test_every_weight_follows_the_formula(tmp_path):
    made, seen = trained(tmp_path, ElasticResetCallback(decay=0.8, reset_every=3))
    check_by_hand(seen, 0.8, resets={3, 6})
    assert resets_logged(made) == [0, 0, 1, 0, 0, 1, 0]


def test_accumulated_micro_batches_are_no_steps(tmp_path):
    _, seen = trained(tmp_path, ElasticResetCallback(decay=0.8, reset_every=2), gradient_accumulation_steps=3)
    assert list(seen.before) == [1, 2, 3, 4, 5, 6, 7]
    check_by_hand(seen, 0.8, resets={2, 4, 6})


@pytest.mark.parametrize("ema_every", [2, "epoch"])
def test_the_average_has_its_own_cadence(tmp_path, ema_every):
    # 4 texts in batches of 2: an epoch is 2 steps
    _, seen = trained(tmp_path, ElasticResetCallback(decay=0.5, reset_every=5, ema_every=ema_every), data=texts(4))
    check_by_hand(seen, 0.5, resets={5}, averaged=lambda step: step % 2 == 0)


def test_a_step_that_was_skipped_is_not_averaged_again(tmp_path):
    class Overflow(TrainerCallback):
        def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
            optimizer._is_overflow = state.global_step + 1 == 2  # what the scaler of float16 leaves behind

    _, seen = trained(tmp_path, ElasticResetCallback(decay=0.5, reset_every=4), Overflow())
    check_by_hand(seen, 0.5, resets={4}, averaged=lambda step: step != 2)


def test_bfloat16_weights_have_a_float32_average(tmp_path):
    _, seen = trained(tmp_path, ElasticResetCallback(decay=0.9, reset_every=3), model=tiny().bfloat16())
    average = {name: p.float() for name, p in seen.start.items()}
    for step in (1, 2, 3):
        average = {name: a.mul(0.9).add(seen.before[step][name], alpha=1 - 0.9) for name, a in average.items()}
    assert same(seen.after[3], {name: a.bfloat16() for name, a in average.items()})


def test_modes_select_and_frozen_parameters(tmp_path):
    model = tiny()
    model.model.embed_tokens.requires_grad_(False)
    callback = ElasticResetCallback(mode="to_init", reset_every=4, select=lambda name: "mlp" in name)
    _, seen = trained(tmp_path, callback, model=model)
    assert len(callback.elastic.parameters) == 6 and same(seen.after[4], seen.start)
    frozen = ElasticResetCallback(reset_every=4, mode="track")
    trained(tmp_path, frozen, model=model)
    assert frozen.elastic.resets == 0 and not any("embed" in name for name in frozen.elastic.parameters)


def test_what_is_suggested_can_be_given_as_it_is(tmp_path):
    suggested = ElasticResetCallback.suggest(7)  # steps
    assert suggested == {"decay": pytest.approx(0.5 ** (1 / 3)), "reset_every": 3}
    made, _ = trained(tmp_path, ElasticResetCallback(**suggested))
    assert sum(resets_logged(made)) == 2


# ---- when a run ends


def test_a_run_of_a_multiple_of_n_steps_ends_on_a_reset(tmp_path):
    made, seen = trained(tmp_path, ElasticResetCallback(decay=0.8, reset_every=3), max_steps=6)
    check_by_hand(seen, 0.8, resets={3, 6})
    assert same({name: p.detach() for name, p in made.model.named_parameters()}, seen.after[6])


def test_it_can_stop_right_after_a_reset(tmp_path):
    made, seen = trained(tmp_path, ElasticResetCallback(decay=0.8, reset_every=2, stop_after=2))
    check_by_hand(seen, 0.8, resets={2, 4})
    assert made.state.global_step == 4


def test_a_stopped_run_is_saved_where_it_stopped_and_is_not_trained_on(tmp_path):
    settings = dict(decay=0.8, reset_every=3, stop_after=2)
    saving = dict(save_strategy="steps", save_steps=5, max_steps=12)
    made, _ = trained(tmp_path, ElasticResetCallback(**settings), **saving)
    assert made.state.global_step == 6 and (tmp_path / "checkpoint-6" / "elastic_reset.json").is_file()
    with pytest.raises(RuntimeError, match=r"checkpoint-6 is where this run ended, after stop_after=2 resets"):
        trained(tmp_path, ElasticResetCallback(**settings), resume=True, **saving)
    made, _ = trained(tmp_path, ElasticResetCallback(**settings | {"stop_after": 3}), resume=True, **saving)
    assert made.state.global_step == 9
    with pytest.warns(UserWarning, match="load_best_model_at_end=True puts another checkpoint in the place"):
        best = dict(load_best_model_at_end=True, save_steps=1, eval_strategy="steps", eval_steps=1)
        trained(tmp_path / "best", ElasticResetCallback(**settings), **saving | best)
    with pytest.warns(UserWarning, match="with save_total_limit=1 a kill while a checkpoint is written leaves none"):
        trained(tmp_path / "one", ElasticResetCallback(**settings), **saving | {"save_total_limit": 1})


def test_the_last_reset_waits_for_a_buffer_after_a_resume_too_and_the_run_ends_on_it(tmp_path):
    """Due at step 3, in the middle of a buffer of four: at step 4, whether or not the run was resumed in between."""

    def run(resume=None):
        callback = ElasticResetCallback(decay=0.8, reset_every=3, stop_after=1)
        made = trainer(tmp_path, callback, max_steps=12, save_strategy="steps", save_steps=3)
        made.args.steps_per_generation = 4
        made.train(resume_from_checkpoint=resume)
        return made.state.global_step, {name: p.detach().clone() for name, p in made.model.named_parameters()}

    (ended, policy), (again, resumed) = run(), run(str(tmp_path / "checkpoint-3"))
    assert ended == again == 4 and same(policy, resumed)
    with pytest.raises(ValueError, match="save_strategy='best' does not save the policy that stop_after ends on"):
        best = dict(save_strategy="best", metric_for_best_model="loss", eval_strategy="steps", eval_steps=1)
        trained(tmp_path / "best", ElasticResetCallback(reset_every=3, stop_after=1), **best)


def test_a_run_that_ended_on_a_reset_can_be_extended(tmp_path):
    settings = {"lr_scheduler_type": "constant", "save_strategy": "steps", "save_steps": 3}
    _, straight = trained(
        tmp_path / "straight", ElasticResetCallback(decay=0.8, reset_every=3), max_steps=8, **settings
    )
    trained(tmp_path / "run", ElasticResetCallback(decay=0.8, reset_every=3), max_steps=3, **settings)
    made, seen = trained(
        tmp_path / "run", ElasticResetCallback(decay=0.8, reset_every=3), resume=True, max_steps=8, **settings
    )
    assert all(same(seen.after[step], straight.after[step]) for step in (4, 5, 6, 7, 8))
    assert resets_logged(made) == [0, 0, 1, 0, 0, 1, 0, 0]


# ---- the optimiser


@pytest.mark.parametrize("optimizer", ["keep", "clear"])
def test_the_moments_of_the_covered_parameters(tmp_path, optimizer):
    class Moments(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
            if state.global_step == 3:
                self.left = {name: len(optimizer.state.get(p, {})) for name, p in model.named_parameters()}

    moments = Moments()
    callback = ElasticResetCallback(decay=0.5, reset_every=3, optimizer=optimizer, select=lambda name: "mlp" in name)
    made = trainer(tmp_path, callback)
    made.add_callback(moments)
    made.train()
    emptied = {name for name, left in moments.left.items() if not left}
    assert emptied == ({name for name in moments.left if "mlp" in name} if optimizer == "clear" else set())


# ---- the log


def test_lines_are_complete_in_the_history_and_for_a_logger_that_stands_before(tmp_path):
    class Logger(TrainerCallback):
        def __init__(self):
            self.lines = []

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.lines.append(dict(logs))

    logger, callback = Logger(), ElasticResetCallback(decay=0.8, reset_every=3)
    made, seen = trained(tmp_path, callback, logger, logging_steps=2, eval_strategy="steps", eval_steps=2)
    names = {"elastic/reset", "elastic/distance_init", "elastic/distance_ema_init", "elastic/distance_ema"}
    training = [line for line in made.state.log_history if "loss" in line]
    assert resets_logged(made) == [0, 1, 1]  # after steps 3 and 6, in the lines of steps 4 and 6
    assert [line["step"] for line in training] == [2, 4, 6] and all(names <= line.keys() for line in training)
    assert not any(names & line.keys() for line in made.state.log_history if "loss" not in line)
    assert [line for line in logger.lines if "loss" in line] == [
        {name: value for name, value in line.items() if name != "step"} for line in training
    ]
    away = sum(float((seen.after[4][name] - seen.start[name]).double().square().sum()) for name in seen.start) ** 0.5
    assert training[1]["elastic/distance_init"] == pytest.approx(away, rel=1e-5)


def test_other_callbacks_see_a_step_before_the_reset_or_after_it_as_they_were_given(tmp_path):
    class Watch(TrainerCallback):
        def __init__(self):
            self.seen = {}

        def on_step_end(self, args, state, control, model=None, **kwargs):
            self.seen[state.global_step] = {name: p.detach().clone() for name, p in model.named_parameters()}

    earlier, later = Watch(), Watch()
    made = trainer(tmp_path, ElasticResetCallback(decay=0.8, reset_every=3), earlier)  # stands before the callback
    made.add_callback(later)
    made.train()
    assert [step for step in earlier.seen if not same(earlier.seen[step], later.seen[step])] == [3, 6]
    average = {name: p.detach().clone() for name, p in tiny().named_parameters()}
    for step in (1, 2, 3):
        average = {name: torch.lerp(average[name], p, 1 - 0.8) for name, p in earlier.seen[step].items()}
    assert same(later.seen[3], average)
    made.train()  # once more with the same callbacks: every one is called once
    assert sum(callback is made.callback_handler.callbacks[0] for callback in made.callback_handler.callbacks) == 1


# ---- schedules


@pytest.mark.parametrize(("every", "told"), [(1, {2: 1, 3: 2, 4: 3, 6: 5, 7: 6, 8: 7}), (3, {4: 3, 10: 9})])
def test_a_schedule_sees_each_logged_line_once_and_none_from_before_a_reset(tmp_path, every, told):
    """After a reset at step 4: of lines of one step, line 4 tells of a policy that is gone; of three steps, line 6."""
    seen = {}

    def schedule(step, measures):
        if not math.isnan(measures.get("loss", math.nan)):
            seen[step] = measures["loss"]
        return step == 4

    settings = dict(logging_steps=every, max_steps=8 if every == 1 else 10, eval_strategy="steps", eval_steps=1)
    callback = ElasticResetCallback(decay=0.5, schedule=schedule)
    made, _ = trained(tmp_path, callback, **settings)
    logged = {line["step"]: line["loss"] for line in made.state.log_history if "loss" in line}
    assert seen == {step: logged[line] for step, line in told.items()}
    assert callback.elastic.resets == 1


def test_an_adaptive_schedule_resets_once_for_what_was_logged_once(tmp_path):
    """KL.on_log says step/2: 1.5 after step 3. What steps 5 and on say is high too, and the policy's own."""
    adaptive = ElasticResetCallback(
        decay=0.5, schedule=Adaptive(kl_budget=1.2)
    )  # 1.5 is logged after step 3, read after step 4
    made, _ = trained(tmp_path, adaptive, KL())
    assert resets_logged(made) == [0, 0, 0, 1, 0, 1, 0]
    adaptive = ElasticResetCallback(decay=0.5, schedule=Adaptive(kl_budget=1.2))
    made, _ = trained(tmp_path, adaptive, KL(), logging_steps=3, max_steps=13)  # lines 3, 6, 9, 12
    assert [line["elastic/reset"] for line in made.state.log_history if "elastic/reset" in line] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"Adaptive needs tick\(kl=…\), or a trainer that logs kl \(TRL: β above 0\)"):
        trained(tmp_path, ElasticResetCallback(schedule=Adaptive(kl_budget=1.0)))  # a plain Trainer logs no KL


def test_what_a_trainer_could_not_measure_is_unknown(tmp_path):
    """TRL logs None where no completion of a line could be scored."""

    class Unscored(TrainerCallback):
        def on_log(self, args, state, control, **kwargs):
            state.log_history[-1] |= {"kl": 0.1, "reward": None if state.global_step % 2 else 1.0}

    adaptive = ElasticResetCallback(schedule=Adaptive(min_slope=0.0, window=2))
    trained(tmp_path, adaptive, Unscored())
    assert [point[2] for point in adaptive.elastic.schedule.schedule.history] == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"tick\(reward=…\), or a trainer that logs reward$"):
        Adaptive(min_slope=0.0)(1, {"kl": 0.1})


def test_the_two_resets_on_their_own_clocks(tmp_path):
    callback = ElasticResetCallback(decay=0.5, schedule=At([2]), ema_reset_every=3)
    _, seen = trained(tmp_path, callback)
    assert same(seen.ema[3], seen.start) and same(seen.ema[6], seen.start)
    assert not same(seen.ema[2], seen.start) and same(seen.after[2], seen.ema[2])


# ---- resumption


def run_to_ten(folder, resume=None, **more):
    callback = ElasticResetCallback(decay=0.9, reset_every=4, ema_every=more.pop("ema_every", "step"))
    settings = {"max_steps": 10, "save_strategy": "steps", "save_steps": 5, "eval_strategy": "no"} | more
    return trained(folder, callback, resume=resume, model=tiny(attention_dropout=0.2), **settings)


@pytest.mark.parametrize("how", ["found", "path", "moved"])
def test_ten_steps_are_five_and_five_more(tmp_path, how):
    straight, expected = run_to_ten(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-10")
    place = tmp_path / "run" / "checkpoint-5"
    if how == "moved":
        place = place.rename(tmp_path / "elsewhere")
    made, seen = run_to_ten(tmp_path / "run", resume=True if how == "found" else str(place))
    assert list(seen.after) == [6, 7, 8, 9, 10]
    for step in seen.after:
        assert same(seen.after[step], expected.after[step]) and same(seen.ema[step], expected.ema[step])
    assert same(seen.callback.elastic.initial, expected.start) and not same(seen.start, expected.start)
    assert lines(made) == lines(straight) and resets_logged(made) == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]


def test_a_resumed_run_follows_its_own_settings(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 5}
    trained(tmp_path, ElasticResetCallback(0.5, reset_every=4), KL(), max_steps=5, **saving)
    callback = ElasticResetCallback(0.5, schedule=Adaptive(kl_budget=1.0, min_interval=99), ema_reset_every=8)
    _, seen = trained(tmp_path, callback, KL(), resume=True, max_steps=10, **saving)
    assert same(seen.ema[8], callback.elastic.initial) and callback.elastic.resets == 1
    expected = {name: torch.lerp(callback.elastic.initial[name], p, 0.5) for name, p in seen.before[9].items()}
    assert same(seen.ema[9], expected)


def test_what_is_saved_is_safetensors_and_json(tmp_path):
    run_to_ten(tmp_path)
    names = {path.name for path in (tmp_path / "checkpoint-5").iterdir() if "elastic" in path.name}
    assert names == {"elastic_reset.json", "elastic_reset.safetensors"}
    content = json.loads((tmp_path / "checkpoint-5" / "elastic_reset.json").read_text())
    assert (content["step"], content["resets"], content["last_reset"]) == (5, 1, 4)


def test_a_checkpoint_is_pushed_with_the_average(tmp_path, monkeypatch):
    """A push comes ahead of `on_save`, in a thread of its own: by then all that is to be pushed has to lie there."""
    import transformers

    if not hasattr(TrainerCallback, "on_push_begin"):
        pytest.skip("this transformers tells no callback of a push")
    pushed, here = {}, {}

    class Hub:
        def upload_folder(self, folder_path, path_in_repo=None, **_):
            if path_in_repo is not None:
                pushed[path_in_repo] = {path.name for path in Path(folder_path).iterdir()}
                here[path_in_repo] = Path(folder_path, "elastic_reset.json").stat().st_mtime_ns
            return SimpleNamespace(done=lambda: True)

    monkeypatch.setattr(transformers.trainer, "hf_api", Hub)
    monkeypatch.setattr(transformers.Trainer, "init_hf_repo", lambda self, **_: setattr(self, "push_in_progress", None))
    monkeypatch.setattr(transformers.Trainer, "push_to_hub", lambda self, *_, **__: None)
    run_to_ten(tmp_path, push_to_hub=True, hub_strategy="all_checkpoints", hub_always_push=True)
    assert set(pushed) == {"checkpoint-5", "checkpoint-10"}
    for name, files in pushed.items():
        assert {"elastic_reset.json", "elastic_reset.safetensors"} <= files
        assert (tmp_path / name / "elastic_reset.json").stat().st_mtime_ns == here[name]  # and was not written again


@pytest.mark.parametrize("damage", ["no json", "no tensors", "half json", "half tensors", "one bit", "another version"])
def test_damaged_files_are_named(tmp_path, damage):
    run_to_ten(tmp_path, max_steps=5)
    folder = tmp_path / "checkpoint-5"
    state, tensors = folder / "elastic_reset.json", folder / "elastic_reset.safetensors"
    path = state if "json" in damage or "version" in damage else tensors
    if damage.startswith("no"):
        path.unlink()
    elif damage.startswith("half"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "one bit":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}))
    with pytest.raises((FileNotFoundError, DamagedRecord), match=r"checkpoint-5.* resume from another checkpoint"):
        run_to_ten(tmp_path, resume=str(folder))


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path):
    run_to_ten(tmp_path, max_steps=5)
    callback = ElasticResetCallback(select=lambda name: "mlp" in name)
    with pytest.raises(ValueError, match=r"another adapter, model or select= \(.* missing none, unexp.* more"):
        trained(tmp_path, callback, resume=True)


# ---- refusals


def test_nothing_to_train_is_an_error_that_helps(tmp_path):
    model = tiny().requires_grad_(False)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match=r"nothing of the model is trainable; with LoRA .*is_trainable=True"):
        trainer(tmp_path, ElasticResetCallback(), model=model, optimizers=(optimizer, None)).train()


def test_an_optimiser_that_trains_copies_is_refused(tmp_path):
    model = tiny()
    copies = torch.optim.AdamW([p.detach().clone().requires_grad_() for p in model.parameters()])
    with pytest.raises(ValueError, match="trains copies of its own"):
        trainer(tmp_path, ElasticResetCallback(), model=model, optimizers=(copies, None)).train()

    class ScheduleFree(torch.optim.AdamW):  # the schedulefree package's have these two, and weights of their own
        def train(self):
            pass

        def eval(self):
            pass

    own = ScheduleFree(model.parameters())
    with pytest.raises(ValueError, match=r"ScheduleFree steps from weights of its own, .* undo every reset; use AdamW"):
        trainer(tmp_path, ElasticResetCallback(), model=model, optimizers=(own, None)).train()


def test_sharded_and_flat_parameters_are_refused(tmp_path):
    model = tiny()
    model.lm_head.weight.ds_id = 0
    with pytest.raises(ValueError, match=r"ZeRO-3 .*; use DDP, FSDP2 .* or DeepSpeed's ZeRO-1 or -2"):
        trainer(tmp_path, ElasticResetCallback(), model=model).train()
    empty, wrapped = tiny(), tiny()
    empty.unused = torch.nn.Parameter(torch.empty(0))
    wrapped.inner = type("FullyShardedDataParallel", (torch.nn.Module,), {})()
    for model in (empty, wrapped):
        with pytest.raises(ValueError, match=r"FSDP1.*; use DDP, FSDP2"):
            trainer(tmp_path, ElasticResetCallback(), model=model).train()

    class Pretence(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            made.is_deepspeed_enabled = True

    made = trainer(tmp_path, ElasticResetCallback(), Pretence())
    with pytest.raises(ValueError, match=r"DeepSpeed trains copies of the weights .*; use DDP, .* ZeRO-1 or -2"):
        made.train()
    made = trainer(tmp_path, ElasticResetCallback(optimizer="clear"), Pretence())
    for p in made.model.parameters():
        p._hp_mapping = None  # what DeepSpeed hangs on parameters whose copies can be written to
    with pytest.raises(ValueError, match=r"optimizer='clear' does not reach the moments .*; use 'keep'"):
        made.train()


def test_a_base_in_shards_cannot_be_guarded_and_says_so(tmp_path):
    model = tiny()
    model.lm_head.weight.full_tensor = None  # what FSDP2's shards have
    with pytest.raises(ValueError, match="guard_base=True does not keep layers that FSDP2 shards; load the base in fl"):
        trainer(tmp_path, ElasticResetCallback(guard_base=True), model=model).train()
    with pytest.raises(ValueError, match="device= does not go with FSDP2, whose shards stay where they are"):
        trainer(tmp_path, ElasticResetCallback(device="cpu"), model=model).train()


def test_a_quantised_base_that_is_merged_cannot_be_guarded_and_says_so():
    from elastic_lib.callback import _Base

    layer = torch.nn.Module()
    layer.base_layer, layer.merge = torch.nn.Linear(2, 2).requires_grad_(False).bfloat16(), None
    vllm, model = SimpleNamespace(use_vllm=True), torch.nn.Sequential(layer)
    assert _Base(model, guard=True).wears(vllm) is None
    assert _Base(model, guard=False).wears(vllm).startswith("bfloat16 base and out again, which wears the base away")
    layer.base_layer.weight.quant_state = None  # what bitsandbytes hangs on packed weights, bfloat16 ones too
    for guard in (False, True):
        base = _Base(model, guard)
        assert "rounded anew each time, which cannot be guarded" in base.wears(vllm)
        assert base.wears(SimpleNamespace()) is None and set(base.layers) == {"0.bias"}


def test_a_search_that_saves_elsewhere_is_told_what_to_set(tmp_path):
    from elastic_lib.callback import _save

    with pytest.raises(FileNotFoundError, match=r"checkpoint-4 is not there .* needs save_strategy='no'"):
        _save({}, tmp_path / "checkpoint-4", "elastic_reset")


@pytest.mark.parametrize("twice", ["the same", "another"])
def test_a_second_callback_on_the_same_weights_is_refused(tmp_path, twice):
    callback = ElasticResetCallback(reset_every=3)
    other = callback if twice == "the same" else ElasticResetCallback(reset_every=2)
    with pytest.raises(ValueError, match=r"two ElasticResetCallbacks reset the same weights: keep one, .* schedule="):
        trainer(tmp_path, callback, other).train()


def test_a_second_callback_on_other_weights_or_that_tracks_is_not_refused(tmp_path):
    first = ElasticResetCallback(decay=0.5, reset_every=3, select=lambda name: "mlp" in name)
    second = ElasticResetCallback(decay=0.5, reset_every=2, select=lambda name: "attn" in name)
    trainer(tmp_path, first, second, ElasticResetCallback(mode="track")).train()
    assert (first.elastic.resets, second.elastic.resets) == (2, 3)


def test_a_checkpoint_is_not_taken_for_that_of_the_other_callback(tmp_path):
    def two():
        return [ElasticResetCallback(decay=0.8, reset_every=3), ElasticResetCallback(mode="track")]

    trained(tmp_path, *two(), max_steps=4, save_strategy="steps", save_steps=4)
    for others in (two()[::-1], two()[:1]):
        with pytest.raises(ValueError, match="mode='track', and this one has mode='elastic': give the callbacks of"):
            trained(tmp_path, *others, resume=True, max_steps=8, save_strategy="no")


def test_an_adaptive_schedule_forgets_the_run_before(tmp_path):
    callback = ElasticResetCallback(decay=0.5, schedule=Adaptive(kl_budget=1e9, window=3))
    trained(tmp_path, callback, KL())
    assert not callback.schedule.history and callback.elastic.schedule.schedule.history


@pytest.mark.parametrize("order", ["resets first", "tracks first"])
def test_two_callbacks_keep_and_log_what_is_theirs(tmp_path, order):
    def both():
        pair = [ElasticResetCallback(decay=0.8, reset_every=3), ElasticResetCallback(decay=0.99, mode="track")]
        return pair if order == "tracks first" else pair[::-1]  # the second one comes first in the trainer's line

    before, again = both(), both()
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4}
    straight, expected = trained(tmp_path, *before, **settings)
    shutil.rmtree(tmp_path / "checkpoint-8")
    made, seen = trained(tmp_path, *again, resume=True, **settings)
    assert lines(made) == lines(straight) and same(seen.after[8], expected.after[8])
    for callback, other in zip(again, before, strict=True):
        assert same(callback.elastic.ema, other.elastic.ema) and callback.elastic.resets == other.elastic.resets
    resets = "elastic" if order == "resets first" else "elastic_2"
    logged = [line[f"{resets}/reset"] for line in straight.state.log_history if "loss" in line]
    assert logged == [0, 0, 1, 0, 0, 1, 0, 0]


def test_resets_of_nothing_and_of_what_is_trained_no_more_are_told_of(tmp_path):
    with pytest.warns(UserWarning, match="θ̄ had not left θ0 at this reset, .*: ema_every=5 has not moved it"):
        trained(tmp_path, ElasticResetCallback(reset_every=3, ema_every=5))

    clocks = {"reset_every": None, "schedule": At([2, 3]), "ema_reset_every": 2}  # at the third step θ̄ has one move
    with pytest.warns(UserWarning, match=r"took nearly all back: 99% of θ0 was left .* moved 1 times .*moves=1\)"):
        trained(tmp_path, ElasticResetCallback(decay=0.99, **(clocks | {"schedule": At([3])})))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # two moves by the reset at the second step, with θ̄ on its clock
        trained(tmp_path, ElasticResetCallback(decay=0.9, **(clocks | {"schedule": At([2])})))

    class Thaws(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            model.lm_head.requires_grad_(state.global_step >= 2)

    model = tiny()
    model.lm_head.requires_grad_(False)
    with pytest.warns(
        UserWarning, match="has changed since training began: 1 trained parameters \\(like 'lm_head.weight'\\) are"
    ):
        made = trainer(tmp_path, ElasticResetCallback(reset_every=3), model=model)
        made.add_callback(Thaws())
        made.train()
    with pytest.warns(UserWarning, match="guard_base=True has no frozen layers"):
        trained(tmp_path, ElasticResetCallback(reset_every=3, guard_base=True))


def test_a_callback_that_comes_late_or_begins_twice_is_refused(tmp_path):
    class Adds(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            made.add_callback(ElasticResetCallback())

    made = trainer(tmp_path, Adds())
    with pytest.raises(RuntimeError, match=r"added while training: θ0 is gone; give it before train\(\)"):
        made.train()
    made = trainer(tmp_path, ElasticResetCallback(), auto_find_batch_size=True)
    made.train()
    with pytest.raises(RuntimeError, match="auto_find_batch_size begins again with the weights that it stopped at"):
        made.train()


def test_resets_that_never_come_are_told_of(tmp_path):
    with pytest.warns(UserWarning, match="reset_every=8 is longer than this run of 7 steps, .*: set it to 7 or less"):
        trainer(tmp_path, ElasticResetCallback(reset_every=8)).train()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="reset_every")
        trainer(tmp_path, ElasticResetCallback(decay=0.5, reset_every=7)).train()


def test_a_callback_that_copies_the_policy_before_its_reset_is_told_of(tmp_path):
    class BEMACallback(TrainerCallback):  # of TRL, by its name
        pass

    with pytest.warns(UserWarning, match="BEMACallback takes the policy of a step before it is reset: give Elastic"):
        trainer(tmp_path, ElasticResetCallback(decay=0.5, reset_every=3), BEMACallback()).train()
    made = trainer(tmp_path, ElasticResetCallback(decay=0.5, reset_every=3))
    made.add_callback(BEMACallback())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="BEMACallback")
        made.train()


def test_a_cadence_that_the_trainer_does_not_have_is_refused(tmp_path):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(texts())

    with pytest.raises(ValueError, match=r"ema_every='rollout' needs a trainer that generates \(RLOO, GRPO\)"):
        trainer(tmp_path, ElasticResetCallback(ema_every="rollout")).train()
    with pytest.raises(ValueError, match="ema_every='epoch' needs a dataset whose length is known"):
        trainer(tmp_path, ElasticResetCallback(ema_every="epoch"), data=Endless()).train()


def test_a_loop_of_ones_own_may_call_it_but_not_resume():
    from transformers import TrainerControl, TrainerState

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state, control = TrainerState(max_steps=6), TrainerControl()
    args = SimpleNamespace(gradient_accumulation_steps=1)
    callback = ElasticResetCallback(decay=0.5, reset_every=3)
    callback.on_train_begin(args, state, control, model=model, optimizer=optimizer)
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    average = {name: p.clone() for name, p in initial.items()}
    for step in range(1, 4):
        model(torch.ones(4, 2)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        state.global_step = step
        average = {name: average[name].lerp(p.detach(), 0.5) for name, p in model.named_parameters()}
        callback.on_step_end(args, state, control, optimizer=optimizer)
    assert callback.elastic.resets == 1
    for name, p in model.named_parameters():
        assert torch.equal(p, average[name]) and torch.equal(callback.elastic.ema[name], initial[name])
    with pytest.raises(RuntimeError, match=r"only Trainer.train\(\) can resume"):
        ElasticResetCallback().on_train_begin(args, state, control, model=model, optimizer=optimizer)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"decay": 1.5}, "decay must be a number from 0 to 1"),
        ({"reset_every": 0}, "reset_every must be a whole number, 1 or more; got 0"),
        ({"reset_every": 3, "schedule": At([3])}, "not both"),
        ({"mode": "elastc"}, "mode must be one of"),
        ({"restart": 2}, "restart must be"),
        ({"ema_reset_every": 0}, "ema_reset_every must be"),
        ({"optimizer": "drop"}, "optimizer must be 'keep' or 'clear'"),
        ({"ema_every": "batch"}, "ema_every must be a number of steps or one of step, epoch, rollout; got 'batch'"),
        ({"ema_every": 0}, "ema_every must be a whole number"),
        ({"stop_after": 0}, "stop_after must be"),
        ({"stop_after": 1, "mode": "track"}, "stop_after counts resets, and mode='track' has none"),
        ({"ema_reset_every": 2, "mode": "to_ema"}, "ema_reset_every sends θ̄ back to θ0, and mode 'to_ema' never does"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(wrong, says):
    with pytest.raises(ValueError, match=says):
        ElasticResetCallback(**wrong)
