"""One way to the hub: always at a revision; without a network what is kept serves, or one line comes at once."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from elastic_lib.records.files import read_json
from elastic_lib.tasks import hub, real_models
from elastic_lib.tasks.hub import from_the_hub, pinned, rows_from_the_hub, used

MEND = "`elastic models` brings smollm2-135m and minilm-l6, or give a folder that holds one"


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A cache of models, and one of the hub's libraries, of this test alone."""
    monkeypatch.setenv("ELASTIC_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def silent(monkeypatch):
    """The hub does not answer."""
    monkeypatch.setattr(hub, "_silence", lambda: "no route")


class Main:
    """A hub whose `main` is at a commit, and moves; what it was asked for."""

    def __init__(self):
        self.commit, self.asked = "a" * 40, []

    def repo_info(self, name, repo_type):
        self.asked.append((repo_type, name))
        if isinstance(self.commit, Exception):
            raise self.commit
        return SimpleNamespace(sha=self.commit)


@pytest.fixture
def answering(monkeypatch):
    """The hub answers; what it gives is the loader's part."""
    main = Main()
    monkeypatch.setattr(hub, "_silence", lambda: None)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: main)
    return main


def told(load, name="some/model@v1", mend=hub.MEND):
    with pytest.raises(Exception) as caught:
        from_the_hub("model", name, load, mend)
    return caught.value


def failing(error):
    def load(where, **which):
        raise error

    return load


# ---- whether it answers


@pytest.fixture
def endpoint(monkeypatch):
    return lambda address: monkeypatch.setattr(constants, "ENDPOINT", address)


def test_whoever_answers_is_there(endpoint):
    class Nobody(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Nobody)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint(f"http://127.0.0.1:{server.server_port}")
    assert hub._silence() is None
    server.shutdown()


def test_a_closed_door_is_noticed_at_once(endpoint):
    endpoint("http://127.0.0.1:9")
    started = time.perf_counter()
    assert hub._silence().startswith("http://127.0.0.1:9: ")
    assert time.perf_counter() - started < 2


def test_nobody_waits_long_for_one_who_says_nothing(endpoint, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setattr(hub, "PATIENCE", 0.2)
        started = time.perf_counter()
        assert hub._silence() is not None
        assert time.perf_counter() - started < 2


def test_whoever_wants_no_network_is_not_asked_for_one(endpoint, monkeypatch):
    endpoint("http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub._silence() == "HF_HUB_OFFLINE is set"


# ---- what comes of it


def test_without_an_answer_the_hubs_libraries_look_at_home_and_only_then(silent, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    config = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "datasets.config", config)
    seen = from_the_hub("model", "some/model@v1", lambda *_, **__: (constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE))
    assert seen == (True, True)
    assert not constants.HF_HUB_OFFLINE and not config.HF_HUB_OFFLINE
    told(failing(OSError("not kept")))
    assert not constants.HF_HUB_OFFLINE and not config.HF_HUB_OFFLINE


def test_without_an_answer_one_line_says_what_to_do(silent):
    error = told(failing(OSError("not kept")), "some/model")
    assert type(error) is ConnectionError and str(error) == f"cannot reach the hub for some/model: no route; {MEND}"
    error = told(failing(OSError("not kept")), mend="set X")
    assert str(error) == "cannot reach the hub for some/model (revision v1): no route; set X"


def test_a_revision_is_passed_on_and_named(answering):
    seen = from_the_hub("model", "some/model@refs/pr/1", lambda where, revision: (where, revision))
    assert seen == ("some/model", "refs/pr/1")
    error = told(failing(OSError("404")))
    assert type(error) is FileNotFoundError
    assert str(error) == f"the hub's some/model (revision v1) cannot be had (404); {MEND}"


# ---- at one commit


def test_a_branch_that_moves_is_followed_by_nobody(answering, tmp_path):
    """What a results folder first asked for, it asks for until it is removed; another folder goes by its own day."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert pinned("some/model", first) == f"some/model@{'a' * 40}"
    answering.commit = "b" * 40
    assert pinned("some/model", first) == f"some/model@{'a' * 40}"
    assert pinned("some/model", second) == from_the_hub("model", "some/model", "{0}@{revision}".format)
    assert pinned("some/model", second) == f"some/model@{'b' * 40}"
    assert answering.asked == 3 * [("model", "some/model")]  # one folder each, the cache of models among them
    assert read_json(first / "revisions.json") == {"some/model": "a" * 40}
    assert pinned("some/model@main", first) == "some/model@main"  # who says so follows it


def test_a_data_set_is_no_model_of_its_name(answering, tmp_path, monkeypatch):
    rows = SimpleNamespace(load_dataset=lambda where, revision: [where, revision])
    monkeypatch.setitem(sys.modules, "datasets", rows)
    assert pinned("some/one", tmp_path) == f"some/one@{'a' * 40}"
    answering.commit = "b" * 40
    assert pinned("some/one", tmp_path, "data set") == f"some/one@{'b' * 40}"
    assert rows_from_the_hub("some/one", mend="set X") == ["some/one", "b" * 40]
    assert answering.asked == [("model", "some/one"), ("dataset", "some/one"), ("dataset", "some/one")]
    assert read_json(tmp_path / "revisions.json") == {"some/one": "a" * 40, "datasets/some/one": "b" * 40}


def test_the_first_question_needs_the_hub_the_second_none(answering, tmp_path, monkeypatch):
    pinned("some/model", tmp_path)
    monkeypatch.setattr(hub, "_silence", lambda: "no route")
    assert pinned("some/model", tmp_path) == f"some/model@{'a' * 40}"
    with pytest.raises(ConnectionError, match=r"^cannot reach the hub for other/model: no route; set X$"):
        pinned("other/model", tmp_path, mend="set X")
    assert read_json(tmp_path / "revisions.json") == {"some/model": "a" * 40}
    monkeypatch.setattr(hub, "_silence", lambda: None)
    answering.commit = OfItsClient("gated")
    with pytest.raises(FileNotFoundError, match=r"^the hub's other/model cannot be had \(gated\); set X$"):
        pinned("other/model", tmp_path, mend="set X")


@pytest.mark.parametrize("damaged", ["", "[]", '{"some/model": "main"}', '{"some/model": null}', "[" * 10**5])
def test_commits_that_are_damaged_are_never_replaced_by_todays(answering, tmp_path, damaged):
    (tmp_path / "revisions.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"revisions\.json is damaged: write into it again what env\.json of the runs"):
        pinned("some/model", tmp_path)
    assert (tmp_path / "revisions.json").read_text() == damaged and not answering.asked


def test_a_run_says_at_which_commits_it_asked(answering, tmp_path, monkeypatch):
    """`paper` on answers: a commit in its settings, and one of the day; its questions too."""
    from elastic_lib.recipe import Recipe
    from elastic_lib.tasks.answers.task import Answers
    from elastic_lib.tasks.sentiment.task import Sentiment

    monkeypatch.delenv("ELASTIC_DATA", raising=False)
    task = Answers(Recipe("answers", "ppo", "paper"), tmp_path / "bases" / "x")
    llama, of_the_day = "huggyllama/llama-7b@4782ad278652c7c71b72204d462d6d01eaaf7549", "a" * 40
    said = task.environment()
    assert set(said["models"]) == {llama, f"trl-lib/llama-7b-se-peft@{of_the_day}"}
    assert said["data"] == f"lvwerra/stack-exchange-paired@{of_the_day}"
    said = Sentiment(Recipe("sentiment", "ppo", "paper"), tmp_path / "bases" / "x").environment()
    assert f"lvwerra/gpt2-imdb@{of_the_day}" in said["models"]
    known = {"datasets/lvwerra/stack-exchange-paired", "lvwerra/gpt2-imdb", "trl-lib/llama-7b-se-peft"}
    assert set(read_json(tmp_path / "revisions.json")) == known


# ---- what goes wrong


class OfItsClient(Exception):
    """As httpx's errors are: none of Python's own."""


def test_whatever_its_client_raises_halfway_is_one_line(answering):
    error = told(failing(OfItsClient("disconnected")))
    assert type(error) is FileNotFoundError and "(disconnected)" in str(error)
    assert type(told(failing(ConnectionError("gone")))) is ConnectionError
    assert type(told(failing(ImportError("no transformers")))) is ImportError  # no fault of the hub


def test_a_folder_needs_no_hub_and_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_silence", lambda: pytest.fail("the hub was asked"))
    (tmp_path / "a@b").mkdir()
    assert from_the_hub("model", str(tmp_path / "a@b"), lambda where: where) == str(tmp_path / "a@b")
    error = told(failing(ValueError("no config")), str(tmp_path))
    assert str(error) == f"{tmp_path} holds no model that can be read (no config): copy it there again"


def test_one_of_ours_goes_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_silence", lambda: pytest.fail("the hub was asked"))
    monkeypatch.setattr(real_models, "ready", lambda name: tmp_path / name)
    assert from_the_hub("model", "minilm-l6", lambda where: where) == str(tmp_path / "minilm-l6")
    digest = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert used("minilm-l6") == {"minilm-l6": {"file": "model.safetensors", "sha256": digest}}


def test_rows_can_be_the_first_of_many(answering, monkeypatch):
    def load_dataset(*names, **which):
        assert (names, which) == (("some/rows", "en"), {"split": "train", "revision": "v1"})
        return iter({"n": n} for n in range(10**9))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert rows_from_the_hub("some/rows@v1", "en", mend="x", most=2, split="train") == [{"n": 0}, {"n": 1}]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match="pip install datasets to ask the hub for some/rows; set X"):
        rows_from_the_hub("some/rows", mend="set X")


# ---- the libraries themselves, where there is no network


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache of the hub's libraries that keeps one small model, at two commits."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("hub")
    model = folder / "hub" / "models--some--kept"
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    for commit, width in ("c", 8), ("d", 16):
        snapshot = model / "snapshots" / (commit * 40)
        LlamaForCausalLM(LlamaConfig(
            vocab_size=5, hidden_size=width, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        )).save_pretrained(snapshot)  # fmt: skip
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="b").save_pretrained(snapshot)
    (model / "refs").mkdir()
    for name in ("main", "v1"):
        (model / "refs" / name).write_text("c" * 40)
    return folder


WITHOUT_A_NETWORK = """
import json, os, sys, time
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
import datasets
from elastic_lib.tasks.hub import from_the_hub, pinned, used
from elastic_lib.tasks.real_text import hub_tokenizer, imdb
from elastic_lib.tasks.judges import PublishedClassifier

load = AutoModelForCausalLM.from_pretrained

said = {"width": [from_the_hub("model", name, load).config.hidden_size for name in ("some/kept", "some/kept@v1")]}
main = next(Path(os.environ["HF_HOME"]).glob("hub/*/refs/main"))
main.write_text("d" * 40)  # it moves
names = ("some/kept", pinned("some/kept", Path("new")))
said["width"] += [from_the_hub("model", name, load).config.hidden_size for name in names]
said["pad"], said["used"] = hub_tokenizer("some/kept").pad_token, used("some/kept@v1")
for what, ask in {
    "model": lambda: from_the_hub("model", "some/other@v2", load),
    "revision": lambda: from_the_hub("model", "some/kept@v3", load),
    "tokenizer": lambda: hub_tokenizer("some/other"),
    "classifier": lambda: PublishedClassifier("some/other", "cpu"),
    "rows": lambda: imdb("train"),
}.items():
    started = time.perf_counter()
    try:
        ask()
    except ConnectionError as error:
        said[what] = [str(error), time.perf_counter() - started]
print(json.dumps(said))
"""


def test_what_is_kept_serves_and_the_rest_is_one_line_at_once(kept, tmp_path):
    here = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ELASTIC_"))}
    here |= {"HF_HOME": str(kept), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": ":".join(sys.path)}
    here |= {"ELASTIC_MODELS": str(tmp_path)}
    script = [sys.executable, "-c", WITHOUT_A_NETWORK]
    done = subprocess.run(script, env=here, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["width"] == [8, 8, 8, 16]  # who asked before keeps its commit, a folder that is new has today's
    assert said["pad"] == "b" and said["used"] == {"some/kept@v1": {"commit": "c" * 40}}
    for what, called in {
        "model": "some/other (revision v2)",
        "revision": "some/kept (revision v3)",
        "tokenizer": "some/other",
        "classifier": "some/other",
        "rows": "stanfordnlp/imdb (revision e6281661ce1c48d982bc483cf8a173c1bbeb5d31)",
    }.items():
        line, seconds = said[what]
        assert line.startswith(f"cannot reach the hub for {called}: http://127.0.0.1:9: ") and seconds < 2, said
        assert ("ELASTIC_DATA" if what == "rows" else MEND) in line and "\n" not in line


def test_a_damaged_folder_is_named(kept, tmp_path):
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained
    whole = next((kept / "hub").glob("*/snapshots/cc*"))
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert from_the_hub("model", str(tmp_path), load).config.hidden_size == 8
    digest = used(str(tmp_path))[str(tmp_path)]
    assert digest["file"] == "model.safetensors" and len(digest["sha256"]) == 64
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    error = told(load, str(tmp_path))
    assert type(error) is ValueError and f"{tmp_path} holds no model that can be read" in str(error)
