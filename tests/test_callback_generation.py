"""Nobody generates from the policy before a reset, and the base beneath an adapter stays what it was."""

import gc
from contextlib import nullcontext

import pytest
import torch


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    global generating, trainers
    pytest.importorskip(
        "trl.distributed", reason="stubs stand in for the vLLM of TRL 1.16, whose calls older ones differ from"
    )
    import generating
    import trainers

    gc.freeze()
    folder = tmp_path_factory.mktemp("base")
    trainers.save_tiny(folder)
    return str(folder)


def test_nobody_generates_from_the_policy_before_a_reset(base):
    found = generating.table(base)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()[2:]]
    assert len(rows) == len(generating.CASES)
    for kind, way, number, without, stale in rows:
        assert int(number) >= 5 and int(stale) == 0, (kind, way)
        assert (int(without) > 0) == way.startswith("vLLM"), (kind, way)  # so that a push that is missing would show
    assert found == generating.on_the_page("who generates"), "docs/callback.md is older: python tests/generating.py"


def test_a_policy_that_is_cast_in_place_is_reset_and_told_of(base):
    from elastic_lib.callback import ElasticResetCallback

    class Kept(ElasticResetCallback):
        def on_optimizer_step(self, args, state, control, **kwargs):
            moved = {name: p.detach().clone() for name, p in self.elastic.parameters.items()}
            self.average = {name: torch.lerp(self.elastic.ema[name], p.float(), 0.5) for name, p in moved.items()}

    callback = Kept(decay=0.5, reset_every=3)
    settings = {"elastic": callback, "bf16": True, "max_steps": 3}
    with pytest.warns(UserWarning, match="cast the policy to bfloat16"):
        seen = generating.generations("GRPO", "continuous batching", base, **settings)
    assert all(fresh for _, fresh in seen)
    for name, p in callback.elastic.parameters.items():  # after the reset at the last step
        assert p.dtype == torch.bfloat16 and callback.elastic.initial[name].dtype == torch.float32
        assert torch.equal(p, callback.average[name].bfloat16())
        assert torch.equal(callback.elastic.ema[name], callback.elastic.initial[name])


@pytest.mark.parametrize("guard", [False, True])
def test_the_base_beneath_an_adapter_wears_away_unless_it_is_guarded(base, guard):
    from peft import LoraConfig

    from elastic_lib.callback import ElasticResetCallback

    class Kept(ElasticResetCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            super().on_train_begin(args, state, control, model=model, **kwargs)
            self.start = {n: p.clone() for n, p in model.named_parameters() if "base_layer" in n}
            self.model = model

        def on_train_end(self, args, state, control, **kwargs):
            self.history = [line["elastic/base_drift"] for line in state.log_history if "loss" in line]

    callback = Kept(decay=0.5, reset_every=4, guard_base=guard)
    peft = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    settings = {"peft": peft, "model_init_kwargs": {"dtype": "bfloat16"}, "max_steps": 4, "eval_strategy": "no"}
    told = nullcontext() if guard else pytest.warns(UserWarning, match="wears the base away: set guard_base=True")
    with told:
        generating.generations("GRPO", "vLLM, colocated", base, elastic=callback, **settings)
    now = dict(callback.model.named_parameters())
    worn = [name for name, p in callback.start.items() if not torch.equal(p, now[name])]
    assert len(callback.start) == 4 and all(p.dtype == torch.bfloat16 for p in callback.start.values())
    assert callback.history[2] > 0  # before the reset at the last step
    assert (worn == []) == guard and (callback.history[3] == 0) == guard
