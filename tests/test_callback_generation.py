"""Nobody generates from the policy before a reset, and the base beneath an adapter stays what it was."""

import gc

import pytest
import torch

pytest.importorskip("trl.experimental.async_grpo", reason="this TRL has another way to generate")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    global generating, trainers
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
    assert found == generating.table_on_the_page(), "docs/callback.md is older: python tests/generating.py"


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
