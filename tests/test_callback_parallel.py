"""Two processes on one machine: every rank holds the same, one of them writes, and shards are averaged as shards."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

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
module._save = lambda state, place: (written.append(place.name), save(state, place))

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
callback.on_save(SimpleNamespace(should_save=first, output_dir=folder / ("." if first else "nowhere")),
                 SimpleNamespace(global_step=7), None)
barrier()
back = {}
for shard in (True, False):
    fresh = ElasticReset(net(shard).named_parameters(), decay=0.8, reset_every=3)
    module._load(fresh, place)
    again = module._whole_state(fresh)
    back[str(shard)] = equal(again["ema"], state["ema"]) and equal(again["initial"], state["initial"])
    back[str(shard)] &= (again["step"], again["resets"]) == (7, 2)
report = {
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

ranks = []
for rank in ("0", "1"):
    if not (process := os.fork()):
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
        for name in ("shards", "replicas"):
            runpy.run_path(f"{sys.argv[1]}/{name}.py")
        sys.exit()
    ranks.append(process)
sys.exit(any(os.waitpid(process, 0)[1] for process in ranks))
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What two processes report of each script, in the order of their ranks."""
    folder = tmp_path_factory.mktemp("parallel")
    for name, script in (("shards", SHARDS), ("replicas", REPLICAS), ("both", BOTH)):
        (folder / f"{name}.py").write_text(script)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | launched | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(folder / "both.py"), str(folder)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]
    names = ("shards", "replicas")
    return {name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)] for name in names}


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
    assert first["distances"] == second["distances"] and first["distances"][0] > 0
