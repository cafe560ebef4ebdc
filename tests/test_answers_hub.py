"""The answers task on what it is at `lab` and `paper`: real questions, a hub model with adapters, HumanEval."""

import gzip
import json
import os

import pytest
import torch
from safetensors.torch import load_file
from test_answers_task import Scripted

from elastic_lib import sandbox
from elastic_lib.nets import transformers_lm
from elastic_lib.nets.learned import relearn
from elastic_lib.nets.transformers_lm import CausalLM
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import read_json
from elastic_lib.records.record import Record
from elastic_lib.run import run
from elastic_lib.tasks.answers import real
from elastic_lib.tasks.answers.exam import Exam
from elastic_lib.tasks.answers.task import JUDGES, Answers
from elastic_lib.tasks.bases import pretrained
from elastic_lib.tasks.sentiment.world import Review

WORDS = (
    "def return ( ) : , . x 1 how do i sort a list use sorted it is fast slow try this Question: Answer: the of".split()
)
CPU = torch.device("cpu")
SMALL = dict(
    train_questions=40, eval_prompts=3, eval_answers=4, prompt=24, length=8, context=64, rm_steps=2, rm_batch=4,
    updates=4, batch=4, minibatch=4, epochs=1, eval_every=2, exam_questions=2, exam_samples=2, exam_length=8,
    reset_every=2, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder that looks like a Llama of the hub (its <unk> is word 0), and one with a published adapter."""
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("hub")
    words = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict(unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder / "llama")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
    ))  # fmt: skip
    model.save_pretrained(folder / "llama")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(folder / "adapter")
    heads = dict(vocab_size=len(words), hidden_size=16, num_attention_heads=2, intermediate_size=16)
    BertModel(BertConfig(num_hidden_layers=2, **heads), add_pooling_layer=False).save_pretrained(folder / "encoder")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<unk>", **special).save_pretrained(
        folder / "encoder"
    )
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Real data's layout, with questions of our own."""
    (tmp_path / "stackexchange").mkdir()
    (tmp_path / "humaneval").mkdir()
    with gzip.open(tmp_path / real.STACK_EXCHANGE, "wt") as file:
        for i in range(60):
            answers = [{"id": j, "text": f"use sorted it is {how} {i}", "score": j, "user": "1", "accepted": False}
                       for j, how in enumerate(("slow", "fast", "fast fast"))]  # fmt: skip
            row = {"site": "x", "id": i, "title": "t", "question": f"how do i sort a list {i}", "question_score": 1,
                   "user": "2", "tags": [], "answers": answers}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    with gzip.open(tmp_path / real.HUMANEVAL, "wt") as file:
        for i in range(2):
            row = {"task_id": f"HumanEval/{i}", "prompt": "def f(x):\n", "canonical_solution": "    return x + 1\n",
                   "test": "def check(candidate):\n    assert candidate(1) == 2\n", "entry_point": "f"}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    monkeypatch.setenv("ELASTIC_DATA", str(tmp_path))
    return tmp_path


def test_a_paper_run_on_a_model_of_the_hubs_layout(hub, data, tmp_path):
    recipe = Recipe(
        "answers", "elastic", "paper", 0, lm_name=str(hub / "llama"), lm_adapter=str(hub / "adapter"), rm_micro=2,
        lora_rank=2, **SMALL,
    )  # fmt: skip
    record = Record(run(recipe, tmp_path / "results"))
    curve, status = record.curve(), record.status()
    assert curve["step"].tolist() == [0, 2, 2, 4] and curve["task"].notna().all()
    assert status["averaged"]["parameters"] == status["averaged"]["adapters"]
    if sandbox.missing() is None:
        assert 0 <= status["test"]["pass_at_1"] <= 1
    base = tmp_path / "results" / "bases" / recipe.base_key
    assert not (base / "lm.safetensors").exists()  # it is the hub's
    size = (base / "rm.safetensors").stat().st_size
    assert size < (hub / "llama" / "model.safetensors").stat().st_size / 2  # adapters and a head, not a whole model


def test_judges_with_adapters_keep_the_frozen_weights_once(hub, data, tmp_path):
    small = {name: value for name, value in SMALL.items() if name != "reset_every"}
    recipe = Recipe(
        "answers", "ppo", "paper", 0, lm_name=str(hub / "llama"), lm_adapter=str(hub / "adapter"), rm_micro=2,
        lora_rank=2, **small,
    )  # fmt: skip
    task = pretrained(recipe, tmp_path)
    rows = task.split("validation").texts
    alone = [task.reward(rows, judge) for judge in range(3)]
    first, *others = (dict(judge.named_parameters()) for judge, _, _ in task._judges)
    for other in others:
        shared = {name for name in first if first[name].data_ptr() == other[name].data_ptr()}
        assert any("embed_tokens" in name for name in shared) and not any("lora_" in name for name in shared)
        assert all(name in shared or "lora_" in name or "modules_to_save" in name for name in first)
    for judge, given in enumerate(alone):  # each as if it stood alone
        model = task._fresh_judge(seed=0)
        relearn(model, load_file(task.base / f"{JUDGES[judge]}.safetensors"))
        standing = read_json(task.base / f"{JUDGES[judge]}.json")
        own = (transformers_lm.RewardModel(model.eval())(rows) - standing["mean"]) / standing["deviation"]
        torch.testing.assert_close(own, given)
    assert not torch.equal(alone[0], alone[1]) and not torch.equal(alone[1], alone[2])


def test_a_published_adapter_is_merged(hub):
    plain, under = (transformers_lm.CausalLM(transformers_lm.load(hub / "llama", "CausalLM", CPU)) for _ in range(2))
    merged = transformers_lm.CausalLM(transformers_lm.merged(hub / "adapter", under.model))
    rows = torch.randint(3, 20, (2, 9))
    assert not torch.allclose(plain.logits(rows), merged.logits(rows))
    assert not any("lora_" in name for name, _ in merged.named_parameters())


def test_a_tokenizer_without_a_word_to_pad_with_is_refused(hub, tmp_path):
    from transformers import PreTrainedTokenizerFast

    from elastic_lib.tasks.answers.dialogues import with_pad

    tokenizer = PreTrainedTokenizerFast.from_pretrained(hub / "llama")
    tokenizer.pad_token = tokenizer.eos_token  # as `hub_tokenizer` leaves one without a pad
    assert with_pad(tokenizer, "llama").pad_token_id == 0
    tokenizer.unk_token, tokenizer.pad_token = "how", "how"
    with pytest.raises(ValueError, match="no special token of id 0 to pad with"):
        with_pad(tokenizer, "llama")


def test_lab_finetunes_a_pretrained_model_and_encoders_that_judge(hub, data, tmp_path, monkeypatch):
    """Each learns its part, the policy starts where finetuning ended, and the tax is taken of untouched text."""
    monkeypatch.setattr("elastic_lib.tasks.real_text.imdb", lambda split: [Review("it is slow try this", 0)] * 9)
    monkeypatch.setattr("elastic_lib.tasks.answers.exam.tatoeba", lambda *_: {"en": ["how do i sort", "the list"]})
    recipe = Recipe(
        "answers", "elastic", "lab", 0, lm_name=str(hub / "llama"), rm_name=str(hub / "encoder"), lora_layers=1,
        lm_steps=30, lm_batch=8, lm_lr=0.1, lora_on="q_proj+v_proj",
        **SMALL | dict(rm_steps=40, rm_batch=8, rm_lr=0.01),
    )  # fmt: skip
    record = Record(run(recipe, tmp_path / "results"))
    made, status, base = record.env()["pretrained"], record.status(), tmp_path / "results" / "bases" / recipe.base_key
    as_published = CausalLM(transformers_lm.load(hub / "llama", "CausalLM", CPU))
    task = pretrained(recipe, tmp_path / "results")
    assert made["lm"]["perplexity"] < task.perplexity(as_published, "validation")
    assert record.curve()["drift"][0] == pytest.approx(made["lm"]["perplexity"])
    assert made["rm"]["accuracy"] > made["rm"]["longer"] - 0.4 and made["rm"]["longer"] == pytest.approx(5 / 6)
    assert all("lora_" in name for name in load_file(base / "lm.safetensors"))
    assert set(made) == {"lm", *JUDGES} and made["rm"]["loss"] < 0.6
    for when in ("test_before", "test", "test_after_reset"):
        assert {"on_reviews", "on_programs", "on_sentences"} <= set(status[when]) and "pass_at_1" not in status[when]
    assert status["test"]["on_sentences"] != status["test_before"]["on_sentences"]


def test_lab_learns_from_real_questions_of_which_long_ones_are_cut(data, tmp_path):
    recipe = Recipe(
        "answers", "elastic", "lab", 0, lm_name=None, rm_name=None, vocabulary=300, lm_width=16, lm_layers=1,
        lm_heads=2, lm_steps=3, lm_batch=4, lora_layers=None, exam="none", **SMALL | {"prompt": 12},
    )  # fmt: skip
    task = Answers(recipe, tmp_path)
    mark = task.dialogues.ids("\n\nAnswer:")
    for row in task.split("train").prompts:
        asked = row[row != 0].tolist()
        assert asked[0] == 1 and len(asked) <= 13 and asked[-len(mark) :] == mark
    held = task.split("validation")
    assert held.answered.any(1).all() and not (held.answered & (held.texts == 0)).any()
    assert Record(run(recipe, tmp_path / "results")).done()


@pytest.mark.skipif(sandbox.missing() is not None, reason=f"no sandbox here: {sandbox.missing()}")
def test_humaneval_is_completed_up_to_the_end_of_the_function(data):
    recipe = Recipe("answers", "ppo", "paper", 0, **{n: v for n, v in SMALL.items() if n != "reset_every"})

    class Beginnings(Scripted):
        def exam_prompt(self, question):
            assert question == "def f(x):\n"
            return super().exam_prompt(question)

    said = ["    return x + 1\nprint('and more')", "    return x", "", "  x"]
    assert Exam(Beginnings(said, recipe)).sit(None) == {"pass_at_1": pytest.approx(0.25)}


@pytest.mark.skipif("ELASTIC_DATA" not in os.environ, reason="ELASTIC_DATA names no folder of real data")
@pytest.mark.parametrize(("corpus", "questions", "pairs"), [("stackexchange", 2000, 5000), ("qa_feedback", 400, 1500)])
def test_lab_reads_the_real_data(tmp_path, corpus, questions, pairs):
    small = Recipe("answers", "ppo", "lab", 0, lm_name=None, rm_name=None, vocabulary=2000, lm_width=16, lm_layers=1,
                   lm_heads=2, corpus=corpus)  # fmt: skip
    train = Answers(small, tmp_path).split("train")
    assert len(train.prompts) > questions and len(train.pairs) > pairs
    assert train.texts.shape[1] <= 1 + 32 + 32
