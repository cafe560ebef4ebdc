"""What is known of the Translation Game (Section 4, Appendix A) before anything runs."""

from __future__ import annotations

from elastic_lib.decay import decay_for
from elastic_lib.tasks.axes import Axes, Table, Yardstick

TITLE, COLOR = "Translation Game", "#5D69B1"
TITLE_AT_SCALE = {"pocket": "Generated: Translation Game", "lab": "Real: Multi30k's captions"}
UNTRAINED, HEADS, DIGITS = "Pretrained", ("↑ FR→EN→DE", "↑ FR→EN"), 1  # of tables
YARDSTICK = Yardstick("higher", 100.0, 0.5)  # BLEU; BLEU
AXES = Axes(
    "updates", "FR→EN→DE, BLEU", "FR→EN, BLEU (↑ better)", "FR→EN, BLEU (↑ better)", 0.25, 100.0,
)  # fmt: skip
UNSAID = ("net", "distance", "samples", "updates", "reset_every")  # said by a figure's title, not by each of its lines
SAID = {"task": "FR→EN→DE {:.1f} BLEU", "drift": "FR→EN {:.1f} BLEU"}  # values in words
SAYS_BETA = ("kl", "kl_lm")  # methods whose name is followed by their β
COLUMNS = {
    "task": "BLEU of FR→EN→DE on held-out sentences; higher is better",
    "drift": "BLEU of FR→EN on them: the English that nobody pays for; higher is better",
    "reward": "mean log-likelihood of a German token under the listener since the last row, in nats",
    "listener_loss": "cross entropy of the German that the listener learns from, since the last row",
    "length_ratio": "words of the English said by those of the reference: above 1, it is too long",
    "repeated": "share of its word pairs that the same sentence had said before",
    "unended": "share of its sentences without a full stop at the end",
    "distinct_1": "share of its words that are different ones",
    "distinct_2": "share of its word pairs that are different ones",
}
SHARED = False  # whether several processes can share a run
SYMPTOMS = {
    "length_ratio": "words said / words of the reference",
    "repeated": "share of word pairs said before",
    "unended": "share of sentences without a full stop",
    "distinct_2": "share of word pairs that are different",
}

# ---- the scales: one code path, other numbers

_POCKET = dict(
    bases=3, device="cpu", corpus="generated", distance="middle", pairs=10000, game_pairs=8000, eval_pairs=1000,
    net="transformer", width=64, layers=2, heads=4, feed=128, dropout=0.1, context=24,
    mt_steps=800, mt_batch=64, mt_lr=3e-3,
    lm_width=64, lm_layers=2, lm_heads=2, lm_steps=400, lm_batch=64, lm_lr=5e-3,
    updates=600, batch=64, samples=2, buckets=1, warm_up=0, length=20, lr=7e-5, listener_lr=2e-3, weight_decay=0.0,
    grad_clip=1.0, estimator="reinforce", entropy=0.003, baseline_decay=0.95, temperature=1.0,
    kl_anchor="initial", eval_every=40,
)  # fmt: skip
_SMOKE = _POCKET | dict(
    pairs=600, game_pairs=200, eval_pairs=24, width=32, layers=1, heads=2, feed=32, mt_steps=150, mt_batch=16,
    mt_lr=1e-2, lm_width=16, lm_layers=1, lm_steps=20, lm_batch=16, updates=6, batch=8, lr=1e-3, listener_lr=5e-3,
    eval_every=1,
)  # fmt: skip
_LAB = _POCKET | dict(
    device="auto", bases=1, corpus="multi30k", distance=None, pretraining="tatoeba", lowercase="after", vocabulary=8000,
    domain_pairs=5000, domain_share=0.15, pairs=160000, game_pairs=24000,
    width=128, heads=4, feed=512, dropout=0.0, context=64, mt_steps=4000, lm_width=128, lm_heads=4, lm_steps=2000,
    lm_lr=2e-3, updates=900, buckets=8, warm_up=200, length=32, lr=3e-5, listener_lr=5e-4, entropy=0.001,
    eval_every=45,
)  # fmt: skip
# Section 4, Appendix A.2 and fairseq's transformer_iwslt_de_en; what the paper does not give is from Lu et al.
_PAPER = _LAB | dict(
    bases=1, pretraining="iwslt", vocabulary=25000, domain_pairs=None, domain_share=None, pairs=200000,
    game_pairs=29000, width=512, layers=6, heads=4, feed=1024, dropout=0.3, mt_steps=100000, mt_batch=128, mt_lr=5e-4,
    lm_width=512, lm_layers=6, lm_steps=50000, updates=50000, samples=1, warm_up=0, length=40, lr=1e-5,
    listener_lr=1e-5, grad_clip=1e6, baseline_decay=0.99, eval_every=1000,
)  # fmt: skip
SCALES = dict(smoke=_SMOKE, pocket=_POCKET, lab=_LAB, paper=_PAPER)

# ---- the methods: the same loop with another term or another plan


def left(share: float, every: int = 140) -> float:
    """The η an update that leaves such a share of θ0 in the average at a reset."""
    return round(decay_for(share, every), 5)


_RESETS = dict(decay=left(0.5), reset_every=140)
METHODS = {
    "frozen": dict(beta=0.0, estimator="none"),
    "reinforce": dict(beta=0.0),
    "gumbel": dict(beta=0.0, estimator="gumbel", gumbel_temperature=1.0),
    "kl": dict(beta=0.05),
    "kl_lm": dict(beta=0.05, kl_anchor="lm"),
    "multitask": dict(beta=0.0, multitask=1.0, multitask_batch=32),
    "sil": dict(beta=0.0, sil_teacher=100, sil_student=10, sil_lr=5e-4),
    "to_init": dict(beta=0.0, mode="to_init", **_RESETS),
    "to_ema": dict(beta=0.0, mode="to_ema", **_RESETS),
    "elastic": dict(beta=0.001, mode="elastic", **_RESETS),
}
LEADS = "to_ema"  # the method whose runs keep their state for others that begin as they do
RESETS_AT_SCALE = {  # of every method that averages
    "smoke": dict(decay=0.5, reset_every=2),
    "lab": dict(decay=decay_for(left=0.25, moves=405), reset_every=405),
    "paper": dict(decay=0.99, reset_every=23000),
}
METHOD_AT_SCALE = {
    ("smoke", "sil"): dict(sil_teacher=2, sil_student=1),
    ("lab", "sil"): dict(sil_lr=3e-4),
    ("paper", "sil"): dict(sil_teacher=4000, sil_student=400, sil_lr=1e-4),
}
NET_AT_SCALE = {("pocket", "lstm"): dict(width=128, mt_lr=1e-2, lr=5e-4)}  # narrower or slower it hardly learns

# ---- what is pretrained, and the settings that it depends on

CORPORA = ("multi30k",)  # of real text, beside the generated world
PARTS = ("speaker", "listener", "lm")
MADE_FROM: dict[str, str] = {}
BASE_SETTINGS = (
    "base", "corpus", "distance", "pretraining", "lowercase", "vocabulary", "pairs", "game_pairs", "eval_pairs",
    "domain_pairs", "domain_share", "buckets", "context", "net", "width", "layers", "heads", "feed", "dropout",
    "mt_steps", "mt_batch", "mt_lr", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
)  # fmt: skip


def parts(recipe) -> tuple[str, ...]:
    """The pretrained models that a run needs."""
    return PARTS if recipe.kl_anchor == "lm" else PARTS[:2]


def check(recipe) -> None:
    """Refuses settings that mean nothing together."""
    if recipe.estimator == "gumbel" and recipe.gumbel_temperature is None:
        raise ValueError("estimator=gumbel needs a gumbel_temperature, 1 for instance")
    if recipe.estimator != "reinforce" and recipe.beta > 0:
        raise ValueError(f"beta is of a KL in the reward; with estimator={recipe.estimator} it has to be 0")
    if recipe.estimator == "none" and (recipe.multitask or recipe.sil_teacher or recipe.reset):
        raise ValueError("estimator=none freezes the speaker: no multitask, no students, no reset")
    if recipe.multitask and recipe.multitask_batch is None:
        raise ValueError("multitask needs a multitask_batch, 32 for instance")
    if recipe.sil_teacher and (recipe.sil_student is None or recipe.sil_lr is None):
        raise ValueError("sil_teacher needs a sil_student and a sil_lr")
    if recipe.reset and (recipe.reset.mode == "track" or recipe.reset.value == "clear"):
        raise ValueError("mode=track and value=clear are of the tasks that PPO learns")
    if recipe.net == "transformer":
        recipe.needs("net=transformer", ("heads", "feed"))
    made_of = ("distance",) if recipe.corpus == "generated" else ("pretraining", "vocabulary", "lowercase")
    recipe.needs(f"corpus={recipe.corpus}", made_of)
    if recipe.kl_anchor == "lm":
        recipe.needs("kl_anchor=lm", ("lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr"))
    if recipe.domain_pairs is not None:
        recipe.needs("domain_pairs", ("domain_share",))
    if recipe.domain_pairs is not None and recipe.domain_share == 1:
        raise ValueError("domain_share must be below 1: pretraining reads its own domain too")


# ---- the runs behind the figures

RIVALS = ("frozen", "reinforce", "kl", "kl_lm", "multitask", "to_init", "to_ema", "elastic")
ELASTIC_KL = ("elastic", {"beta": 0.05})  # Elastic Reset on top of a KL as strong as that of KL alone
ELASTIC_MULTITASK = ("elastic", {"beta": 0.0, "multitask": 1.0, "multitask_batch": 32})
LSTM = ("frozen", "reinforce", "kl_lm", "multitask", "sil", "elastic")
SWEEPS = {  # Figures 12, 13 and 17; the middle value of each is the method's own
    "kl": [{"beta": beta} for beta in (0.005, 0.05, 0.2)],
    "kl_lm": [{"beta": beta} for beta in (0.005, 0.05, 0.2)],
    "multitask": [{"multitask": weight} for weight in (0.1, 1.0, 3.0)],
    "elastic": [{"beta": beta} for beta in (0.0, 0.001, 0.01, 0.05)],
    "decay": [{"decay": left(share)} for share in (0.9, 0.5, 0.1, 0.001)],
}

COEFFICIENTS = ("beta", "multitask", "multitask_batch", "decay")  # what a sweep or a sum of methods may change


def faithful(method: str) -> dict:
    """The paper's regime of the game: one sample a source, two resets, at 0.46 and 0.92 of the run."""
    resets = dict(decay=left(0.5, 276), reset_every=276) if "mode" in METHODS[method] else {}
    return dict(samples=1, **resets)


def long(method: str) -> dict:
    """Twice as long, resets twice as far apart: what differs after the second reset has room to show."""
    resets = dict(decay=left(0.5, 280), reset_every=280) if "mode" in METHODS[method] else {}
    return dict(updates=1260, **resets)


# The rule of `starting_point`, which was found on sentiment, in place of the n that the game has here.
BY_THE_RULE = ("elastic", dict(reset_every=201, decay=left(0.5, 201)))
LONG = ("frozen", "reinforce", "to_init", "to_ema", "elastic")
CORE = [(method, {}) for method in RIVALS]
_SWEPT = [
    *((method, value) for method in ("kl", "kl_lm", "multitask", "elastic") for value in SWEEPS[method]),
    *(("elastic", value) for value in SWEEPS["decay"]),
]
_DISTANT = [*((m, {}) for m in ("frozen", "reinforce", "kl", "kl_lm", "multitask", "elastic")), ELASTIC_KL]
FULL = [
    *CORE,
    *((method, {"net": "lstm"}) for method in LSTM),
    *((method, {}) for method in ("gumbel", "sil")),
    ELASTIC_KL,
    ELASTIC_MULTITASK,
    *((method, faithful(method)) for method in (*RIVALS, "sil")),
    *((method, long(method)) for method in LONG),
    BY_THE_RULE,
    *((method, settings | {"distance": distance}) for distance in ("near", "far") for method, settings in _DISTANT),
    *_SWEPT,
]
REAL = [(method, {}) for method in ("frozen", "reinforce", "kl", "multitask", "to_ema", "elastic")]
GRID_AT_SCALE = {  # core and full, where a run takes ten minutes or more
    "lab": (REAL, [*REAL, *((method, {}) for method in ("to_init", "kl_lm", "gumbel", "sil")), ELASTIC_KL])
}
GLANCE = [("reinforce", {}), ("kl", {}), ("elastic", {})]  # without resets, with a stronger KL, with resets
GLANCE_AT_SCALE: dict[str, list] = {}

# ---- the paper's tables: its numbers are of 6+6 layers, or of LSTMs, on IWSLT and Multi30k

_FINAL = {  # of Table 4; Table 1 has most of them
    "Pretrained": ("23.8", "36.2"),
    "Frozen English": ("30.8 ± 0.2", "36.3 ± 0.1"),
    "REINFORCE": ("33.2 ± 0.3", "29.6 ± 0.3"),
    "SIL": ("28.2 ± 0.4", "27.3 ± 4.4"),
    "Multitask": ("32.2 ± 0.3", "35.2 ± 1.0"),
    "KL to English LM": ("33.2 ± 0.2", "30.8 ± 0.4"),
    "Reset to Init": ("32.5 ± 0.1", "33.3 ± 0.1"),
    "Reset to EMA": ("32.9 ± 0.1", "36.3 ± 0.1"),
    "Elastic Reset": ("33.0 ± 0.1", "36.3 ± 0.1"),
}
_LSTMS = [(method, {"net": "lstm"}) for method in LSTM]
TABLES = {
    1: Table(
        "Translation Game, final scores",
        "final_scores",
        [(method, {}) for method in ("frozen", "reinforce", "sil", "multitask", "kl_lm", "elastic")],
        {name: row for name, row in _FINAL.items() if name not in ("Pretrained", "Reset to Init", "Reset to EMA")}
        | {"Elastic Reset": ("32.9 ± 0.1", "36.3 ± 0.1")},
    ),
    4: Table(
        "Translation Game, final scores of all methods",
        "final_scores",
        [
            (method, {})
            for method in ("frozen", "reinforce", "sil", "multitask", "kl_lm", "to_init", "to_ema", "elastic")
        ],
        _FINAL,
    ),
    5: Table(
        "Pretrained LSTMs, BLEU",
        "pretrained",
        _LSTMS,
        {
            "paper: Lee et al. (2019)": ("34.1", "", "22.0", ""),
            "paper: Lu et al. (2020)": ("32.2", "", "20.2", ""),
            "paper: the authors": ("38.5", "", "23.2", ""),
        },
    ),
    6: Table(
        "Translation Game with LSTMs",
        "combined_scores",
        _LSTMS,
        {
            "Frozen English": ("32.6 ± 0", "25.1 ± 0.1", "0", "+7.1", "+7.1"),
            "REINFORCE": ("30.0 ± 0.2", "30.3 ± 0.2", "-2.6", "+12.3", "+9.7"),
            "KL to English LM": ("31.5 ± 0.1", "30.2 ± 0.2", "-1.1", "+12.2", "+11.1"),
            "Multitask": ("32.9 ± 0.2", "28.5 ± 0.3", "+0.3", "+10.5", "+10.8"),
            "SIL": ("27.7 ± 0.7", "24.3 ± 0.1", "-4.9", "+6.3", "+1.4"),
            "Elastic Reset": ("32.6 ± 0.1", "30.0 ± 0.1", "0", "+12.0", "+12.0"),
        },
    ),
}
