"""The sentiment task on real models' own layouts, made here: a tiny Llama, GPT-2, encoder and text classifier."""

import contextlib
import re
import shutil
from functools import partial

import pytest
import torch

from elastic_lib.evidence import Evidence
from elastic_lib.figures import tables
from elastic_lib.loops.checks import RunFailed, check_agreement
from elastic_lib.nets.sampler import logp_of
from elastic_lib.notebook.talk import talk as talk_to
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import DamagedRecord, head_of
from elastic_lib.records.record import Record, reference_results
from elastic_lib.run import run
from elastic_lib.tasks.bases import pretrained
from elastic_lib.tasks.judges import FEWEST, MOST, FinetunedEncoder, PublishedClassifier, _crop
from elastic_lib.tasks.sentiment import world
from elastic_lib.tasks.sentiment.task import Sentiment
from elastic_lib.tasks.sentiment.voices import cut, publish

SMALL = dict(
    device="cpu", prompt=6, length=5, updates=3, batch=4, minibatch=4, epochs=1, eval_prompts=8, eval_reviews=8,
    eval_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of models by name, all with one tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )  # fmt: skip

    folder = tmp_path_factory.mktemp("models")
    words = ["<unk>", "<|endoftext|>", *world.vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", unk_token="<unk>", pad_token="<unk>"
    )
    torch.manual_seed(0)
    heads = dict(vocab_size=len(words), hidden_size=16, num_attention_heads=2, intermediate_size=16)
    bert = BertConfig(num_hidden_layers=2, id2label={0: "NEGATIVE", 1: "POSITIVE"}, **heads)
    made = {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_positions=64, n_embd=16, n_layer=1, n_head=2)),
        "classifier": BertForSequenceClassification(bert),
        "llama": LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, max_position_embeddings=64, **heads)),
        "encoder": BertModel(bert, add_pooling_layer=False),
    }
    for name, model in made.items():
        model.save_pretrained(folder / name)
        fast.save_pretrained(folder / name)
    return {name: str(folder / name) for name in made}


@pytest.fixture(scope="module", autouse=True)
def reviews():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("elastic_lib.tasks.real_text.imdb", lambda split: world.generate(60, seed=split == "train"))
        yield


def lab(folders, method="elastic", **changed):
    names = dict(lm_name=folders["llama"], rm_name=folders["encoder"])
    resets = {} if method == "ppo" else dict(reset_every=2)
    tiny = dict(context=30, rm_steps=3, rm_batch=4, lora_rank=2, lora_layers=1)
    return Recipe("sentiment", method, "lab", **names, **SMALL, **tiny, **resets, **changed)


def test_published_models_run_through_the_same_code(folders, tmp_path):
    names = dict(lm_name=folders["gpt2"], rm_name=folders["classifier"])
    recipe = Recipe("sentiment", "elastic", "paper", reset_every=2, context=64, **names, **SMALL | dict(minibatch=2))
    curve = Record(run(recipe, tmp_path)).curve()
    assert curve["step"].tolist() == [0, 1, 2, 2, 3] and (curve["drift"] > 1).all()
    assert abs(curve["kl"].iloc[1]) < 1e-3


@pytest.fixture(scope="module")
def learnt(folders, tmp_path_factory):
    """A run with resets, through adapters: its results folder and its record."""
    results = tmp_path_factory.mktemp("learnt")
    return results, Record(run(lab(folders), results))


def test_a_real_model_learns_through_adapters_and_a_reset_takes_it_back(folders, learnt):
    tmp_path, record = learnt
    recipe = lab(folders)
    curve, status, made = record.curve(), record.status(), record.env()
    assert curve["step"].tolist() == [0, 1, 2, 2, 3] and (curve["drift"] > 1).all()
    assert status["averaged"]["parameters"] == status["averaged"]["adapters"] < status["averaged"]["model"] / 2
    forward = curve["forward_kl"]
    assert abs(forward[0]) < 1e-5 < abs(forward[2]) and abs(forward[3]) < abs(forward[2])
    assert {model["file"] for model in made["models"].values()} == {"model.safetensors"}
    assert 0 <= made["pretrained"]["rm"]["accuracy_scored"] <= 1
    base = tmp_path / "bases" / recipe.base_key
    assert not (base / "lm.safetensors").exists() and (base / "rm.safetensors").exists()


def test_a_model_that_was_changed_in_its_folder_is_another(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    own, results = shutil.copytree(folders["encoder"], tmp_path / "judge"), tmp_path / "results"
    recipe = lab(folders | {"encoder": str(own)}, "ppo")

    def train_further():
        weights = load_file(own / "model.safetensors")
        save_file({name: w + 0.01 for name, w in weights.items()}, own / "model.safetensors", {"format": "pt"})

    pretrained(recipe, results)
    train_further()
    with pytest.warns(UserWarning, match=r"rm.safetensors was trained on another .*judge than there is now; set aside"):
        run(recipe, results)
    train_further()
    with pytest.raises(ValueError, match=r"was made with another .*judge than there is now: give the new"):
        run(recipe, results)


def test_what_cannot_judge_says_so(folders, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    stars = BertConfig(vocab_size=9, hidden_size=16, num_attention_heads=2, intermediate_size=16, num_hidden_layers=1)
    stars.num_labels = 3
    BertForSequenceClassification(stars).save_pretrained(shutil.copytree(folders["encoder"], tmp_path / "stars"))
    cpu = torch.device("cpu")
    with pytest.raises(ValueError, match="tells LABEL_0, LABEL_1, LABEL_2: a judge has a class POSITIVE or POS"):
        PublishedClassifier(str(tmp_path / "stars"), cpu)
    with pytest.raises(ValueError, match=r"gpt2 is no encoder in BERT's layout; a classifier that is .* rm_steps=none"):
        FinetunedEncoder(folders["gpt2"], cpu)
    with pytest.warns(UserWarning, match="classifier is a classifier, of which the encoder alone is taken"):
        FinetunedEncoder(folders["classifier"], cpu)


def test_a_proxy_of_a_real_judge_learns_its_labels_from_what_the_encoder_knew(folders, learnt):
    task = pretrained(lab(folders, "ppo", gold_labels=24), learnt[0])
    texts = task.prompts(50, torch.Generator().manual_seed(0))
    paid, meant = task.reward(texts), task.gold(texts)
    assert paid.shape == meant.shape == (50,) and not torch.equal(paid, meant) and ((0 < paid) & (paid < 1)).all()
    scores, _ = task.evaluate(task.policy())
    assert scores["gold"] != scores["task"]


def test_adapters_are_cut_to_the_closest_of_their_rank():
    torch.manual_seed(0)
    adapters = {"q.lora_A.w": torch.randn(4, 7), "q.lora_B.w": torch.randn(5, 4)}
    product = 2 * adapters["q.lora_B.w"] @ adapters["q.lora_A.w"]
    sizes = torch.linalg.svdvals(product)
    for rank in (1, 4):
        small = cut(adapters, rank, scale=2.0)
        assert small["q.lora_A.w"].shape == (rank, 7) and small["q.lora_B.w"].dtype == torch.float16
        lost = (small["q.lora_B.w"].float() @ small["q.lora_A.w"].float() - product).norm()
        assert float(lost) == pytest.approx(float(sizes[rank:].norm()), abs=0.01)  # Eckart and Young
    with pytest.raises(ValueError, match="no adapters: head"):
        cut(adapters | {"head": torch.zeros(2)}, 1)


def test_a_run_is_cut_published_and_talked_to(learnt, tmp_path):
    results, record = learnt
    files = [publish(record.run_id, which, results, tmp_path, rank=1) for which in ("after_reset", "policy")]
    heads = [head_of(file) for file in files]
    assert [head["when"] for head in heads] == ["right after its last reset", "at the end"]
    assert heads[1]["kl_to_cut"] < heads[1]["kl_to_untrained"] / 2, heads
    talk = talk_to("lab", tmp_path)
    assert "This film was" in talk._repr_mimebundle_()[0]["text/html"]
    beginning = " ".join(world.vocabulary()[:3])
    talk.ask(beginning, seed=3)
    first = talk.said.value
    assert first.count("<tr>") == 4 and f"<b>{beginning}</b>" in first and not talk.button.disabled
    talk.ask("<script>alert(1)</script>", seed=3)
    assert "<script>" not in talk.said.value
    talk.ask(beginning, seed=3)
    assert talk.said.value == first
    talk.ask("")
    assert "say something first" in talk.said.value
    files[0].write_bytes(files[0].read_bytes()[:40])
    with pytest.raises(DamagedRecord, match="damaged"):
        talk_to("lab", tmp_path)
    with pytest.raises(FileNotFoundError, match="is not there"):
        publish("sentiment-ppo-s0-00000000", "policy", results, tmp_path)
    assert "nobody to talk to" in talk_to("smoke").data


def test_in_half_precision_the_first_ratio_is_still_one(folders, tmp_path):
    with pytest.warns(UserWarning, match="no units for bfloat16") if slow_at_half() else contextlib.nullcontext():
        loop = pretrained(lab(folders, "ppo", precision="bfloat16"), tmp_path).loop()
    types = {(p.requires_grad, p.dtype) for p in loop.policy.parameters()}
    assert types == {(False, torch.bfloat16), (True, torch.float32)}
    samples = loop._sample()
    batch, _ = loop._score(samples)
    again, _ = logp_of(loop.policy, batch.tokens, SMALL["prompt"], **loop.shape)
    assert torch.equal(batch.old_logp, again)
    assert loop.update()["clipped"] == 0
    layer = next(layer for layer in loop.policy.modules() if hasattr(layer, "lora_A"))
    x, up = torch.randn(3, 5, layer.in_features).bfloat16(), layer.lora_B["default"].weight
    with torch.no_grad():
        up.normal_()
        ours, of_peft, of_its_base = (
            f(x).float() for f in (layer, partial(type(layer).forward, layer), layer.base_layer)
        )
    assert (ours - of_peft).abs().max() < 0.02 * of_peft.abs().max() < (of_its_base - of_peft).abs().max()


def test_of_half_precision_the_mean_is_asked_for_and_of_single_the_worst():
    sampled, one_word, all_words = torch.zeros(32, 24), torch.zeros(32, 24), torch.full((32, 24), 0.2)
    one_word[3, 5] = 0.96  # as seen on random words
    check_agreement(one_word, sampled, precise=False)
    with pytest.raises(RunFailed, match=r"differ by 0\.2 nats on average at step 0; at most 0\.15"):
        check_agreement(all_words, sampled, precise=False)
    with pytest.raises(RunFailed, match=r"differ by 0\.96 nats at step 0; at most 0\.001"):
        check_agreement(one_word, sampled)


def slow_at_half():
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_a_crop_lies_anywhere_in_its_review_and_has_the_words_that_were_asked_for():
    words = [str(i) for i in range(100)]
    generator = torch.Generator().manual_seed(0)
    crops = [_crop(words, 10, generator).split() for _ in range(400)]
    assert all(len(crop) == 10 and crop == words[int(crop[0]) : int(crop[0]) + 10] for crop in crops)
    starts = [int(crop[0]) for crop in crops]
    assert 0.4 < starts.count(0) / 400 < 0.6 and max(starts) > 80
    assert _crop(words[:5], MOST, generator).split() == words[:5] and FEWEST < MOST


@pytest.mark.parametrize("changed, says", [
    (dict(lm_name=None), "adapters need a pretrained policy"),
    (dict(value_coef=None), "and a value head on it"),
    (dict(lora_rank=None), "value_coef is for a policy with adapters"),
    (dict(lora_rank=None, value_coef=None, precision="bfloat16"), "precision is of the frozen weights"),
    (dict(gold_labels=12, rm_steps=None), "gold_labels is of reward models that are trained here"),
])  # fmt: skip
def test_settings_that_mean_nothing_together_are_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        Recipe("sentiment", "ppo", "lab", **changed)
    with pytest.raises(ValueError, match="answers learns through adapters alone"):
        Recipe("answers", "ppo", "pocket", lora_rank=None)


def test_reviews_that_are_too_short_are_counted(folders, tmp_path):
    task = Sentiment(Recipe("sentiment", "ppo", "lab", lm_name=folders["llama"], eval_prompts=200), tmp_path)
    with pytest.raises(ValueError, match="of validation have 64 tokens; 200 are needed"):
        task.reviews.rows("validation")


@pytest.mark.filterwarnings("ignore:this processor has no units")
def test_the_benchmark_tells_of_every_part(folders):
    from elastic_lib.machine import real_language

    figures = dict(real_language.measure(lab(folders, "ppo")))
    assert {"sampling", "scoring", "learning", "whole update", "3 updates", "generate / our sampler"} <= set(figures)
    assert [name for name in figures if re.fullmatch(r"TRL (RLOO|GRPO) 1\.\d+\.\d+ / ours", name)]
    assert all(figure["median"] > 0 for figure in figures.values())


def test_the_minutes_of_a_run_are_those_of_its_records():
    evidence = Evidence("sentiment", "lab", [reference_results("lab")])
    table = tables.minutes(evidence, [("elastic", {}), ("best_of_n", {})])  # of the second there are none
    ends = [run.curve().iloc[-1] for run in evidence.of("elastic").values()]
    assert len(table) == 1 and table["seeds"].item() == len(ends)
    steps = sum(end["t_update"] for end in ends) / len(ends) / 60
    assert float(table["gradient steps"].item()) == pytest.approx(steps, abs=0.06)
    parts = [sum(end[f"t_{part}"] for part in ("sample", "score", "update", "ema", "eval")) / 60 for end in ends]
    assert table["all of it"].item().endswith(f"({min(parts):.0f} to {max(parts):.0f})")


def test_the_papers_own_shapes_run_at_reduced_depth(folders, tmp_path, monkeypatch, torture):
    if not torture.full:
        pytest.skip("`make torture` runs GPT-2 and DistilBERT at full width: half a minute, a gigabyte of checkpoints")
    from transformers import (
        AutoTokenizer,
        DistilBertConfig,
        DistilBertForSequenceClassification,
        GPT2Config,
        GPT2LMHeadModel,
    )

    torch.manual_seed(0)
    made = {
        "policy": GPT2LMHeadModel(GPT2Config(n_layer=1)),
        "judge": DistilBertForSequenceClassification(
            DistilBertConfig(n_layers=1, id2label={0: "NEGATIVE", 1: "POSITIVE"})
        ),
    }
    for name, model in made.items():
        model.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path / name)
    long = [world.Review(" ".join([review.text] * 9), review.label) for review in world.generate(20, seed=3)]
    monkeypatch.setattr("elastic_lib.tasks.real_text.imdb", lambda split: long)
    names = dict(lm_name=str(tmp_path / "policy"), rm_name=str(tmp_path / "judge"))
    few = dict(device="cpu", updates=1, batch=2, epochs=1, eval_prompts=2, eval_reviews=2)
    recipe = Recipe("sentiment", "ppo", "paper", **names, **few)
    assert (recipe.prompt, recipe.length, recipe.minibatch, recipe.top_k) == (64, 48, 2, 50)
    curve = Record(run(recipe, tmp_path / "results")).curve()
    assert curve["step"].tolist() == [0, 1] and (curve["drift"] > 1).all() and abs(curve["kl"].iloc[1]) < 1e-3
    torture.count("shapes", "GPT-2 and DistilBERT of the paper's configuration, one layer each", 1, "0 errors")
