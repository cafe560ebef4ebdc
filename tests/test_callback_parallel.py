"""Two processes on one machine: every rank holds the same, one of them writes, and shards are averaged as shards.

FSDP2 and DeepSpeed are made for GPUs: on CPUs accelerate 1.15 silently trains with DDP where FSDP is asked for (its
AcceleratorState makes that of several GPUs alone), and counts one process under DeepSpeed. A line each corrects that
here; all else is what a Trainer does on GPUs, over gloo.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

EXAMPLE = """
import hashlib, json, os, runpy, sys
from pathlib import Path
import trainers

here, folder = Path(trainers.__file__).parents[1] / "docs" / "examples", Path(sys.argv[1])
sys.argv, sys.path[:0] = sys.argv[:1], [str(here)]
seen = runpy.run_path(str(here / "accelerate_loop.py"))
def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors.values())).hexdigest()
report = {"processes": seen["accelerator"].num_processes, "average": digest(seen["er"].ema)}
report |= {"weights": digest(seen["er"].parameters), "resets": seen["er"].resets}
sys.argv.append(str(folder))
(folder / f"example-{os.environ['RANK']}.json").write_text(json.dumps(report))
"""

REPLICAS = """
import hashlib, json, os, sys
from pathlib import Path
import torch
from elastic_lib import callback as module
from trainers import check_by_hand, lines, resets_logged, same, trained

def digest(tensors):
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors.values())).hexdigest()

folder, written = Path(sys.argv[1]), []
save = module._save
module._save = lambda state, place, name: (written.append(place.name), save(state, place, name))

def go(resume=None):
    callback = module.ElasticResetCallback(decay=0.8, reset_every=3)
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, "ddp_backend": "gloo"}
    return trained(folder / "run", callback, resume=resume, **settings)

made, seen = go()
check_by_hand(seen, 0.8, resets={3, 6})
again, resumed = go(resume=str(folder / "run" / "checkpoint-4"))
report = {
    "wrapped": type(made.model_wrapped).__name__,
    "first name": next(iter(seen.start)),
    "weights": [digest(weights) for weights in seen.after.values()],
    "averages": [digest(average) for average in seen.ema.values()],
    "resets": resets_logged(made),
    "written": written,
    "resumed": [same(resumed.after[step], seen.after[step]) and same(resumed.ema[step], seen.ema[step])
                for step in (5, 6, 7, 8)],
    "same log": lines(again) == lines(made),
}
(folder / f"replicas-{os.environ['RANK']}.json").write_text(json.dumps(report))
"""

FSDP2 = """
import json, os, sys
from pathlib import Path
import torch
import trainers
from accelerate.state import AcceleratorState, DistributedType, PartialState
from elastic_lib.callback import ElasticResetCallback
from trainers import Recorder, check_by_hand, lines, resets_logged, same

plain = AcceleratorState.__init__

def on_cpus_too(self, *given, fsdp_plugin=None, **more):
    plain(self, *given, fsdp_plugin=fsdp_plugin, **more)
    if fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin

def whole(tensors):
    return {name: t.detach().full_tensor().clone() for name, t in tensors.items()}

class Whole(Recorder):
    def weights(self):
        return whole(self.callback.elastic.parameters)

    def on_step_end(self, args, state, control, **kwargs):
        self.after[state.global_step], self.ema[state.global_step] = self.weights(), whole(self.callback.elastic.ema)

AcceleratorState.__init__, trainers.Recorder, folder = on_cpus_too, Whole, Path(sys.argv[1])

def go(resume=None):
    callback = ElasticResetCallback(decay=0.8, reset_every=2)
    sharded = {"fsdp": True, "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}}
    settings = {"max_steps": 5, "save_strategy": "steps", "save_steps": 3, "ddp_backend": "gloo"}
    return trainers.trained(folder / "fsdp", callback, resume=resume, **sharded, **settings)

made, seen = go()
check_by_hand(seen, 0.8, resets={2, 4})

def said(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(2, 10)[None]).logits

def of(weights):
    plain = trainers.tiny()
    plain.load_state_dict(weights)
    return said(plain)

outside = [said(made.model)]  # leaves what comes last in the model whole
with seen.callback.elastic.averaged():
    averaged = same(seen.weights(), seen.ema[5])
    inside = said(made.model)
outside.append(said(made.model))
again, resumed = go(resume=str(folder / "fsdp" / "checkpoint-3"))
report = {
    "kind": [str(made.accelerator.distributed_type), made.accelerator.is_fsdp2, type(made.model).__name__],
    "held here": sum(t.to_local().numel() for t in seen.callback.elastic.ema.values()),
    "whole": sum(t.numel() for t in seen.start.values()),
    "averaged": averaged and same(seen.weights(), seen.after[5]),
    "said": [float((a - b).abs().max()) for a, b in
             [(inside, of(seen.ema[5])), *((each, of(seen.after[5])) for each in outside)]],
    "moved": float((inside - outside[0]).abs().max()),
    "resets": resets_logged(made),
    "resumed": [same(resumed.after[step], seen.after[step]) and same(resumed.ema[step], seen.ema[step])
                for step in (4, 5)],
    "same log": lines(again) == lines(made),
}
(folder / f"fsdp-{os.environ['RANK']}.json").write_text(json.dumps(report))
torch.distributed.destroy_process_group()
"""

DEEPSPEED = """
import json, os, sys
from pathlib import Path
import deepspeed.ops
import torch
import trainers
from accelerate.state import DistributedType, PartialState
from elastic_lib.callback import ElasticResetCallback
from trainers import Recorder, check_by_hand, lines, resets_logged, same, tiny, trained
from transformers import training_args

for op in deepspeed.ops.__compatible_ops__:
    deepspeed.ops.__compatible_ops__[op] = False  # it would compile for minutes
PartialState._prepare_backend = lambda self, *given: ("gloo", DistributedType.NO)
training_args.is_torch_bf16_gpu_available = lambda: True

class Masters(Recorder):
    def on_step_end(self, args, state, control, model=None, **kwargs):
        super().on_step_end(args, state, control, **kwargs)
        if state.global_step == 3:
            reset = self.callback.elastic.parameters
            self.written = all(torch.equal(p.get_full_hp_param(), p.float()) for p in reset.values())
            prompt, fresh = torch.tensor([[3, 9, 17]]), tiny().to(model.dtype)
            with torch.no_grad():
                for name, p in fresh.named_parameters():
                    p.copy_(self.average[name])  # as the reset found it
            said = [m.generate(prompt, do_sample=False, max_new_tokens=8) for m in (model, fresh)]
            self.generates = torch.equal(*said)

    def on_optimizer_step(self, args, state, control, **kwargs):
        super().on_optimizer_step(args, state, control, **kwargs)
        online = self.before[state.global_step + 1]
        start = getattr(self, "average", self.start)
        self.average = {name: torch.lerp(start[name].float(), p.float(), 0.2) for name, p in online.items()}

def far(a, b):
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)

trainers.Recorder, folder, report = Masters, Path(sys.argv[1]), {}
for stage, half in ((1, False), (2, False), (2, True)):
    place = folder / f"zero-{stage}-{half}"
    config = {"train_micro_batch_size_per_gpu": 2, "zero_allow_untested_optimizer": True}
    config |= {"zero_optimization": {"stage": stage}, "bf16": {"enabled": "auto"}}

    def go(resume=None):
        callback = ElasticResetCallback(decay=0.8, reset_every=3)
        settings = {"max_steps": 5, "save_strategy": "steps", "save_steps": 4, "use_cpu": False, "bf16": half}
        return trained(place, callback, resume=resume, deepspeed=config, **settings)

    made, seen = go()
    check_by_hand(seen, 0.8, resets={3}) if not half else None
    again, resumed = go(resume=str(place / "checkpoint-4"))
    report[place.name] = {
        "processes": made.accelerator.num_processes,
        "type": str(next(iter(seen.start.values())).dtype),
        "master written": seen.written,
        "generates from the average": seen.generates,
        "reset, next step": [far(seen.before[3], seen.after[3]), far(seen.before[4], seen.after[3])],
        "resets": resets_logged(made),
        "resumed": same(resumed.after[5], seen.after[5]) and same(resumed.ema[5], seen.ema[5]),
        "same log": lines(again) == lines(made),
    }
    deepspeed.comm.barrier()
(folder / f"zero-{os.environ['RANK']}.json").write_text(json.dumps(report))
torch.distributed.destroy_process_group()
"""

SHARDS = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch.distributed import barrier, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from elastic_lib import callback as module
from elastic_lib.reset import ElasticReset

if not torch.distributed.is_initialized():  # by the script before
    init_process_group("gloo")
folder, mesh = Path(sys.argv[1]), init_device_mesh("cpu", (2,))

def net(shard):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    for layer in (model[0], model[2], model) if shard else ():
        fully_shard(layer, mesh=mesh)  # 7 and 3 rows do not divide by 2: shards of unequal size
    return model

def run(shard):
    model = net(shard)
    elastic = ElasticReset(model.named_parameters(), decay=0.8, reset_every=3)
    optimiser, trace = torch.optim.AdamW(model.parameters(), lr=0.05), []
    for step in range(7):
        inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
        model(inputs).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        elastic.update()
        elastic.tick()
        trace.append({n: (whole(p), whole(elastic.ema[n])) for n, p in elastic.parameters.items()})
    return elastic, trace

def whole(t):
    return (t.full_tensor() if module._is_sharded(t) else t).detach().clone()

def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

(elastic, trace), (plain, expected) = run(True), run(False)
state, place, callback = module._whole_state(elastic), folder / "checkpoint-7", module.ElasticResetCallback()
place.mkdir(exist_ok=True)
callback.elastic, first = elastic, os.environ["RANK"] == "0"
elastic.moves = 1  # which a callback's own counts
callback.on_save(SimpleNamespace(should_save=first, output_dir=folder / ("." if first else "nowhere")),
                 SimpleNamespace(global_step=7), None)
barrier()
back = {}
for shard in (True, False):
    fresh = ElasticReset(net(shard).named_parameters(), decay=0.8, reset_every=3)
    module._load(fresh, place, "elastic_reset")
    again = module._whole_state(fresh)
    back[str(shard)] = equal(again["ema"], state["ema"]) and equal(again["initial"], state["initial"])
    back[str(shard)] &= (again["step"], again["resets"]) == (7, 2)
mixed = net(False)
fully_shard(mixed[0], mesh=mesh)  # the other layer is whole, as in some models of several experts
averaging = ElasticReset(mixed.named_parameters(), decay=0.8)
averaging.update()
report = {
    "mixed": averaging.distances()[1],
    "held here": sum(t.to_local().numel() for t in elastic.ema.values()),
    "held by one": sum(t.numel() for t in plain.ema.values()),
    "steps equal": [all(map(torch.equal, a[name], b[name])) for a, b in zip(trace, expected) for name in b],
    "distances": list(elastic.distances()),
    "distances of one": list(plain.distances()),
    "back": back,
}
(folder / f"shards-{os.environ['RANK']}.json").write_text(json.dumps(report))
"""


# The ranks are forks of a process that has imported what takes seconds.
BOTH = """
import os, runpy, sys
import torch._dynamo
import torch.distributed.fsdp
import trainers
from elastic_lib import callback

folder, *scripts = sys.argv[1:]
ranks = []
for rank in ("0", "1"):
    if not (process := os.fork()):
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
        for name in scripts:
            runpy.run_path(f"{folder}/{name}.py")
        sys.exit()
    ranks.append(process)
sys.exit(any(os.waitpid(process, 0)[1] for process in ranks))
"""


def launched(folder, **scripts):
    """What two processes report of each script, in the order of their ranks."""
    for name, script in ({"both": BOTH} | scripts).items():
        (folder / f"{name}.py").write_text(script)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    two = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    two |= {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, str(folder / "both.py"), str(folder), *scripts]
    ran = subprocess.run(command, env=os.environ | two, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return {name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)] for name in scripts}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return launched(tmp_path_factory.mktemp("parallel"), example=EXAMPLE, shards=SHARDS, replicas=REPLICAS, fsdp=FSDP2)


def test_replicas_stay_identical_and_one_process_writes(reports):
    first, second = reports["replicas"]
    assert first["wrapped"] == second["wrapped"] == "DistributedDataParallel"
    assert first["first name"] == "model.embed_tokens.weight"  # not `module.…`
    assert first["weights"] == second["weights"] and first["averages"] == second["averages"]
    assert first["resets"] == second["resets"] == [0, 0, 1, 0, 0, 1, 0, 0]
    assert len(set(first["weights"])) == 8
    assert first["written"] == ["checkpoint-4", "checkpoint-8", "checkpoint-8"] and second["written"] == []
    assert all(first["resumed"] + second["resumed"]) and first["same log"]


def test_shards_are_averaged_as_the_whole_and_saved_as_the_whole(reports):
    first, second = reports["shards"]
    assert 0 < second["held here"] < first["held here"]
    assert first["held here"] + second["held here"] == first["held by one"]
    for rank in (first, second):
        assert rank["steps equal"] == [True] * 7 * 4  # bit for bit, of 4 parameters
        assert all(abs(a - b) < 1e-6 for a, b in zip(rank["distances"], rank["distances of one"], strict=True))
        assert rank["back"] == {"True": True, "False": True}
    assert max(first["mixed"], second["mixed"]) < 1e-6  # θ̄ is moved to θ, where it is
    assert first["distances"] == second["distances"] and first["distances"][0] > 0


def test_the_example_for_two_processes_keeps_one_average(reports):
    first, second = reports["example"]
    assert first == second and first["processes"] == 2 and first["resets"] == 2


def test_fsdp2_in_a_trainer_follows_the_formula_and_resumes(reports):
    first, second = reports["fsdp"]
    for rank in (first, second):  # `check_by_hand` has passed on both, bit for bit, over whole tensors
        assert rank["kind"] == ["DistributedType.FSDP", True, "FSDPLlamaForCausalLM"]
        assert max(rank["said"]) < 1e-5 < 1e-3 < rank["moved"]
        assert rank["averaged"] and rank["resumed"] == [True, True] and rank["same log"]
        assert rank["resets"] == [0, 1, 0, 1, 0]
    assert 0 < first["held here"] < first["whole"] == first["held here"] + second["held here"]


def test_deepspeeds_master_copies_are_reset_too(tmp_path):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not here: pip install '.[deepspeed]' with DS_BUILD_OPS=0")
    reports = launched(tmp_path, zero=DEEPSPEED)["zero"]
    for case, half in (("zero-1-False", False), ("zero-2-False", False), ("zero-2-True", True)):
        for rank in (reports[0][case], reports[1][case]):
            assert rank["processes"] == 2 and rank["type"] == ("torch.bfloat16" if half else "torch.float32")
            assert rank["master written"] and rank["generates from the average"]
            back, step = rank["reset, next step"]
            assert step < 0.011 < 0.015 < back  # a step of Adam goes 0.01 at most: from θ̄, not from where θ was
            assert rank["resets"] == [0, 0, 1, 0, 0] and rank["resumed"] and rank["same log"]
