"""The Translation Game: what each method must do exactly, and that a run of it survives what runs survive."""

import copy
import gzip
from dataclasses import fields

import pytest
import torch

from elastic_lib.loops.distill import Distillation
from elastic_lib.loops.reinforce import Game, GameSettings, pair_loss
from elastic_lib.loops.resetting import Resetting
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.seq2seq import EOS, Seq2Seq
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.recipe import KNOWN_FIELDS
from elastic_lib.records.record import Record, columns
from elastic_lib.run import run
from elastic_lib.tasks.bases import pretrained
from elastic_lib.tasks.translation.facts import METHODS

METHOD_NAMES = list(METHODS)


def recipe_of(method, seed=0, **settings):
    return Recipe("translation", method, "smoke", seed, **settings)


def game(results, method, seed=0, **settings):
    return pretrained(recipe_of(method, seed, **settings), results).loop()


def weights(net):
    return [p.detach().clone() for p in net.parameters()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def timeless(curve):
    return curve[[name for name in curve if not name.startswith(("t_", "dist_"))]]


# ---- a toy


def test_two_strangers_agree_on_words_and_the_speaker_goes_back_to_its_average():
    torch.manual_seed(1)
    speaker, listener = (Seq2Seq(5, 5, 16, 1, 2, 16, 8, 0.0) for _ in range(2))
    resetting = Resetting(speaker, decay=0.9, reset_every=60, anchor="none")
    settings = GameSettings(length=2, batch=32, samples=4, lr=5e-3, listener_lr=1e-2)
    toy = Game(speaker, listener, one_of_two_words, settings, resetting=resetting)
    rewards, due = [], False
    while not due:
        rewards.append(toy.update()["reward"])
        average = copy.deepcopy(resetting.elastic.ema)
        due = toy.tick()
    assert sum(rewards[-5:]) / 5 > -0.1 and len(rewards) == 60  # who has to guess the word gets log(1/2)/2, −0.35
    assert all(torch.equal(p, average[name]) for name, p in speaker.named_parameters())


def one_of_two_words(count, generator):
    """A word, and an end; the German is the French."""
    words = torch.randint(3, 5, (count, 1), generator=generator)
    sentences = torch.cat([words, torch.full_like(words, EOS)], 1)
    return sentences, sentences


def test_a_game_has_no_value_to_clear():
    speaker, listener = (Seq2Seq(5, 5, 16, 1, 2, 16, 8, 0.0) for _ in range(2))
    toy = Game(speaker, listener, one_of_two_words, GameSettings(), resetting=Resetting(speaker, 0.9, 2, value="clear"))
    with pytest.raises(ValueError, match="this loop has no value to clear; it has optimizer"):
        toy.tick()


def test_a_recipe_has_a_word_for_every_number():
    assert {field.name for field in fields(GameSettings)} <= {"seed", *KNOWN_FIELDS}


# ---- the sanity lines


def test_frozen_english_never_drifts(made):
    curve = made(recipe_of("frozen")).curve()
    assert curve["drift"].nunique() == 1 and curve["task"].nunique() > 1
    assert tuple(curve.columns) == columns("translation")


@pytest.mark.parametrize("method", ["to_init", "to_ema"])
def test_until_the_first_reset_a_method_that_resets_is_reinforce(made, method):
    plain = timeless(made(recipe_of("reinforce")).curve())
    reset = timeless(made(recipe_of(method)).curve())
    first = int(reset["reset"].to_numpy().argmax())
    assert first > 1
    assert plain.iloc[:first].to_csv() == reset.iloc[:first].to_csv()
    later = reset.loc[(reset["reset"] == 0) & (reset.index > first), "reward"].tolist()
    assert later and not set(later) & set(plain["reward"])


@pytest.mark.parametrize("method", ["elastic", "to_ema", "to_init"])
def test_a_reset_moves_the_speaker_alone_and_to_the_right_place(results, method):
    loop = game(results, method, decay=0.7)
    start = weights(loop.model.speaker)
    average = [p.clone() for p in start]
    while True:
        loop.update()
        average = [0.7 * a + 0.3 * p for a, p in zip(average, weights(loop.model.speaker), strict=True)]
        heard = weights(loop.model.listener)
        if loop.tick():
            break
    assert loop.step == 2 and loop.iteration == 1
    now = weights(loop.model.speaker)
    if method == "to_init":
        assert equal(now, start)
    else:
        for a, b in zip(now, average, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    goes_back = equal(list(loop.resetting.elastic.ema.values()), start)
    assert goes_back == (method == "elastic") or method == "to_init"
    assert equal(weights(loop.model.listener), heard)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_who_learns_in_each_method(results, method):
    loop = game(results, method)
    spoke, heard = weights(loop.model.speaker), weights(loop.model.listener)
    measures = loop.update()
    assert equal(weights(loop.model.speaker), spoke) == (method == "frozen")
    assert not equal(weights(loop.model.listener), heard)
    assert measures["reward"] == pytest.approx(measures["reward"]) and measures["reward"] < 0
    kl = measures["kl"]
    assert (kl == kl) == (method in ("kl", "kl_lm", "elastic"))


def test_while_it_warms_up_only_the_listener_learns(results):
    loop = game(results, "reinforce", warm_up=2)
    spoke = weights(loop.model.speaker)
    loop.update(), loop.update()
    assert equal(weights(loop.model.speaker), spoke)
    loop.update()
    assert not equal(weights(loop.model.speaker), spoke)


# ---- the numbers that are learned from


def test_the_kl_to_the_initial_speaker_starts_at_nothing_and_that_to_a_language_model_does_not(results):
    assert game(results, "kl").update()["kl"] == pytest.approx(0, abs=1e-4)
    assert abs(game(results, "kl_lm").update()["kl"]) > 0.1


def test_the_reward_is_the_mean_log_likelihood_of_the_german(results):
    loop = game(results, "reinforce")
    played = loop._play()
    with torch.no_grad():
        logits = loop.model.listener.logits(played.english, played.german)
    logp = logits.log_softmax(-1)
    kept, at, expected = played.german != PAD, 0, []
    for row in range(len(kept)):
        count = int(kept[row].sum())
        words = played.german[row, :count]
        expected.append(sum(float(logp[at + i, words[i]]) for i in range(count)) / count)
        at += count
    assert loop._listen(played)[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_samples_of_a_source_stand_side_by_side_and_end(results):
    loop = game(results, "reinforce")
    played = loop._play()
    assert len(played.french) == 4 and len(played.english) == len(played.german) == 8
    assert torch.equal(played.german[0::2], played.german[1::2])
    assert all(EOS in row for row in played.english.tolist())
    assert bool((played.logp[played.english == PAD] == 0).all())


def test_the_advantage_by_hand(results):
    rewards = torch.tensor([1.0, 3.0, 2.0, 2.0, 0.0, 4.0, 5.0, 7.0])
    pairs = game(results, "reinforce")
    spread = rewards.var(correction=0).sqrt()
    expected = torch.tensor([-2.0, 2.0, 0.0, 0.0, -4.0, 4.0, -2.0, 2.0]) / spread
    torch.testing.assert_close(pairs._advantage(rewards, None), expected)
    alone = game(results, "reinforce", samples=1)
    torch.testing.assert_close(alone._advantage(rewards, None), (rewards - 3) / spread)
    torch.testing.assert_close(alone._advantage(rewards + 1, None), (rewards + 1 - 3) / spread)
    moved = 0.95 * 3 + 0.05 * 4
    torch.testing.assert_close(alone._advantage(rewards, None), (rewards - moved) / spread)
    paid = game(results, "kl", samples=1, beta=0.5)
    kl = torch.arange(8.0)
    total = rewards - 0.5 * kl
    torch.testing.assert_close(paid._advantage(rewards, kl), (total - total.mean()) / spread)


def test_reinforce_moves_towards_what_was_better(results):
    loop = game(results, "reinforce", entropy=0.0, lr=1e-3)
    played = loop._play()
    kept = played.english != PAD
    words, rows = played.english[kept], kept.nonzero()[:, 0]

    @torch.no_grad()
    def logp():
        return loop._logits(loop.model.speaker, played).log_softmax(-1).gather(1, words[:, None])[:, 0]

    before, better = logp(), torch.tensor([1.0, -1.0] * 4)
    loop._learn(played, better)
    gained = logp() - before
    assert float(gained[better[rows] > 0].mean()) > 0 > float(gained[better[rows] < 0].mean())


# ---- seeded iterated learning


def test_students_take_their_teachers_place(results):
    loop = game(results, "sil", sil_teacher=2, sil_student=3)
    assert isinstance(loop, Distillation) and isinstance(loop.game, Game)
    start = weights(loop.students.speaker)
    loop.update()
    assert not loop.tick() and equal(weights(loop.students.speaker), start)
    loop.update()
    taught = weights(loop.model.speaker)
    assert loop.tick() and loop.iteration == 1 and loop.step == 2
    assert not equal(weights(loop.students.speaker), start)
    assert equal(weights(loop.model.speaker), weights(loop.students.speaker))
    assert not equal(weights(loop.model.speaker), taught)
    assert not loop.game.speaker_optimiser.state_dict()


def test_a_student_imitates(results):
    loop = game(results, "sil", sil_student=40, sil_lr=1e-2)
    french, _ = loop.game.sentences(8, torch.Generator().manual_seed(3))
    english = loop._likeliest(french)
    before = float(pair_loss(loop.students.speaker, french, english).detach())
    loop._imitate()
    assert float(pair_loss(loop.students.speaker, french, english).detach()) < before - 0.1


# ---- a run


@pytest.mark.parametrize(
    ("method", "deaths"),
    [("elastic", {1, 2, 3, 5}), ("sil", {3}), ("gumbel", {3}), ("kl_lm", {3}), ("multitask", {3})],
    ids=["elastic", "sil", "gumbel", "kl_lm", "multitask"],
)
def test_a_run_killed_anywhere_ends_as_if_it_never_was(made, results, method, deaths, monkeypatch):
    from elastic_lib import run as module

    recipe = recipe_of(method)
    expected = made(recipe).status()["fingerprint"]
    deaths, plain = set(deaths), module.checkpoint.save

    def save(record, step, state, aside):
        plain(record, step, state, aside)
        if step in deaths:
            deaths.remove(step)
            raise KeyboardInterrupt

    monkeypatch.setattr(module.checkpoint, "save", save)
    while deaths:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, results)
    record = Record(run(recipe, results))
    assert record.status()["fingerprint"] == expected


def test_the_policy_right_after_the_last_reset_is_kept_and_scored(made, results):
    from safetensors.torch import load_file

    record = made(recipe_of("elastic"))
    status = record.status()
    assert set(status["test_after_reset"]) == set(status["test"]) == set(status["test_before"])
    kept = {name: load_file(record.path / "checkpoint" / f"{name}.safetensors") for name in ("policy", "after_reset")}
    task = pretrained(recipe_of("elastic"), results)
    loop = task.loop()
    loop.model.load_state_dict(kept["after_reset"])
    assert task.evaluate(loop.model, "test")[0] == status["test_after_reset"]
    assert any(not torch.equal(kept["policy"][n], part) for n, part in kept["after_reset"].items())


def test_samples_hold_what_a_reader_needs(made):
    record = made(recipe_of("reinforce"))
    samples = record.samples()
    assert {"step", "reset", "id", "prompt", "text", "reference", "german", "german_reference"} == set(samples.columns)
    assert samples.groupby("id")["prompt"].nunique().eq(1).all()
    env = record.env()
    assert env["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert {"bleu", "bleu_captions"} <= set(env["pretrained"]["speaker"])


QUICK = dict(mt_steps=10)  # a base of its own, and nothing asked of it


@pytest.mark.parametrize(
    "settings", [{"net": "lstm"}, {"distance": "far", **QUICK}, {"buckets": 4, **QUICK}, {"temperature": 0.7}]
)
def test_variants_run(results, settings):
    record = Record(run(recipe_of("elastic", updates=3, **settings), results))
    assert record.status()["status"] == "done"


# ---- real text

WORDS = {
    "fr": "un homme voit l'arbre . une femme chante ici .".split(),
    "en": "a man sees the tree . a woman sings here .".split(),
    "de": "ein Mann sieht den Baum . eine Frau singt hier .".split(),
}


def corpora(root):
    """The layout of the real corpora, with very little in it."""

    def write(name, language, count):
        path = root / f"{name}.{language}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(WORDS[language][i % 5 : i % 5 + 4]) + f" {i} ." for i in range(count)]
        path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))

    for split, count in (("train", 120), ("val", 20), ("test_2016_flickr", 20)):
        for language in WORDS:
            write(f"multi30k/{split}", language, count)
    for pair in ("fr-en", "en-de"):
        for split, count in (("train", 80), ("valid", 20), ("test", 20)):
            for language in pair.split("-"):
                write(f"tatoeba/{pair}/{split}", language, count)


TINY = dict(bases=1, device="cpu", vocabulary=400, domain_pairs=40, pairs=80, game_pairs=60, eval_pairs=20, width=16,
            layers=1, heads=2, feed=32, mt_steps=4, mt_batch=8, lm_width=16, lm_layers=1, lm_heads=2, lm_steps=4,
            lm_batch=8, updates=3, batch=8, buckets=2, warm_up=1, eval_every=1)  # fmt: skip


@pytest.mark.parametrize("method", ["elastic", "kl_lm", "multitask"])
def test_lab_plays_on_real_corpora(method, tmp_path, monkeypatch):
    corpora(tmp_path / "data")
    monkeypatch.setenv("ELASTIC_DATA", str(tmp_path / "data"))
    resets = {"reset_every": 2} if method == "elastic" else {}
    recipe = Recipe("translation", method, "lab", **TINY, **resets)
    record = Record(run(recipe, tmp_path))
    samples = record.samples()
    assert samples["prompt"].iloc[0] == "un homme voit l'arbre 0."
    assert samples["german_reference"].iloc[0] == "ein mann sieht den 0."


def test_lab_without_its_files_says_which_where_and_what_was_found(tmp_path, monkeypatch):
    data = tmp_path / "data"
    corpora(data)
    recipe = Recipe("translation", "elastic", "lab", **TINY)
    monkeypatch.setenv("ELASTIC_DATA", str(data))
    hidden = data / "multi30k" / "val.en.gz"
    hidden.rename(data / "elsewhere")
    says = f"{data} lacks 1 of 21 files: missing multi30k/val.en.gz; found multi30k/train.fr.gz, multi30k/train.en.gz"
    with pytest.raises(FileNotFoundError, match=says):
        run(recipe, tmp_path)
    (data / "elsewhere").rename(hidden)

    german = data / "multi30k" / "train.de.gz"
    lines = gzip.decompress(german.read_bytes()).decode().splitlines()
    german.write_bytes(gzip.compress("\n".join(lines[:-1]).encode()))
    with pytest.raises(ValueError, match=r"train.fr.gz has 120.*train.de.gz has 119"):
        run(recipe, tmp_path)
    monkeypatch.delenv("ELASTIC_DATA")
    with pytest.raises(
        FileNotFoundError, match=r"ELASTIC_DATA is not set.*multi30k/train.fr.gz.*tatoeba/en-de/test.de"
    ):
        run(recipe, tmp_path)


def test_the_papers_preset_is_the_papers():
    recipe = Recipe("translation", "elastic", "paper")
    assert (recipe.layers, recipe.width, recipe.heads, recipe.feed) == (6, 512, 4, 1024)
    assert recipe.updates == 50000 and list(recipe.restarts()) == [23000, 46000]
    assert (recipe.reset.decay, recipe.beta, recipe.samples) == (0.99, 0.001, 1)
    assert Recipe("translation", "kl_lm", "paper").beta == 0.05
    assert (recipe.corpus, recipe.pretraining, recipe.vocabulary) == ("multi30k", "iwslt", 25000)
