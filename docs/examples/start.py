"""What the examples share: a tiny model made here, or a real one by its name, what to watch, and what is kept of it."""

import argparse
import json
import tempfile
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from elastic_lib import decay_for
from elastic_lib.records.environment import environment
from elastic_lib.tasks import real_models

RESULTS = Path(__file__).parent / "results.json"  # what docs/callback.md shows, a line a run
WORDS = "the film was is a good bad fine dull bright story actor end old new and but very not so".split()
QUIET = {"logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "bf16": False}


def arguments(steps, reset_every, rate, real_rate=1e-5):
    ask = argparse.ArgumentParser()
    ask.add_argument("--model", help="smollm2-135m, a folder, or an id on the hub; a tiny one where it is left out")
    ask.add_argument("--steps", type=int, default=steps)
    ask.add_argument("--decay", type=float, default=decay_for(left=0.33, moves=reset_every))
    ask.add_argument("--rate", type=float, help="the learning rate")
    chosen = ask.parse_args()
    chosen.rate = chosen.rate or (real_rate if chosen.model else rate)
    chosen.model = str(real_models.resolve(chosen.model) or chosen.model) if chosen.model else tiny()
    return chosen


def tiny(folder=None, words=WORDS, width=16, layers=1, seed=0):
    folder = folder or tempfile.mkdtemp()
    split = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<pad>", "<eos>", *words])}, unk_token="<pad>"))
    split.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=split, pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
    special = {"num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words) + 2, **sizes, **special)).save_pretrained(folder)
    return folder


def sentences(number, shift=0, length=4):
    return [" ".join(islice(cycle(WORDS), i * 3 + shift, i * 3 + shift + length)) for i in range(number)]


def watch(log, decay, *columns):
    names = {"elastic/distance_init": "|θ-θ0|", "elastic/distance_ema_init": "|θ̄-θ0|", **{c: c for c in columns}}
    print("step  reset  share of θ0 in θ̄", *(f"{name:>14}" for name in names.values()))
    steps, since = {}, 0
    for line in log:  # one of training and perhaps one of an evaluation
        steps[line["step"]] = steps.get(line["step"], {}) | line
    for step, line in steps.items():
        since = 0 if line["elastic/reset"] else since + 1
        told = (f"{line.get(name, float('nan')):14.4f}" for name in names)
        print(f"{step:4}  {line['elastic/reset']:5}  {decay**since:17.0%}", *told)


def keep(name, found):
    """Into `RESULTS`, with what it was made by and on."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    made = environment(torch.device("cpu"))
    found |= {"machine": f"{made['machine']}, {made['cores']} cores, a thread a process"}
    kept[name] = found | {package: version(package) for package in ("torch", "transformers", "trl")}
    lines = ",\n".join(f"{json.dumps(one)}: {json.dumps(kept[one], ensure_ascii=False)}" for one in sorted(kept))
    RESULTS.write_text(f"{{\n{lines}\n}}\n")
