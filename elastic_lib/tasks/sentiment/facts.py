"""What is known of the sentiment task (Section 6, Appendix B) before anything runs."""

from __future__ import annotations

from elastic_lib.decay import decay_for, starting_point
from elastic_lib.tasks.axes import Axes, Table, Yardstick

TITLE, COLOR = "IMDB sentiment", "#99612B"
TITLE_AT_SCALE = {"pocket": "Generated: film reviews", "lab": "Real: SmolLM2 on IMDB"}
UNTRAINED, HEADS, DIGITS = "Zero-shot", ("↑ sentiment", "↓ perplexity"), 3  # of tables
YARDSTICK = Yardstick("lower", 1.0, 1.5)  # P(positive); perplexity
AXES = Axes(
    "PPO updates", "reward, P(positive)", "perplexity of true reviews (↓ better)",
    "perplexity, axis reversed (↑ better)", 0.01, 1.0,
)  # fmt: skip
UNSAID = ()
SAID = {
    "task": "reward {:.3f}",
    "drift": "perplexity {:.2f}",
    "reward": "reward {:.3f}",
    "kl": "KL {:.2f} nats",
    "gold": "gold reward {:.3f}",
}  # values
COLUMNS = {
    "task": "mean P(positive) that the reward model gives completions of held-out prompts; higher is better",
    "drift": "perplexity on held-out reviews; lower is better",
    "entropy": "mean of −log π of the sampled tokens since the last row, in nats",
    "explained_variance": "of the returns by the value network, at the last update",
    "value_loss": "at the last update",
    "clipped": "share of ratios outside the clip, at the last update",
    "forward_kl": "KL(π0‖π) in nats a token, on continuations by the pretrained model itself",
    "reverse_kl": "KL(π‖π0) in nats a token, on continuations by the policy (the generated world alone)",
    "gold": "`task` by the reward model itself, where a policy is paid by a proxy of it (gold_labels)",
    "ema_task": "`task` of the average θ̄, where mode is track",
    "ema_drift": "`drift` of the average θ̄, where mode is track",
}
SHARED = True  # whether several processes can share a run
SYMPTOMS: dict[str, str] = {}

# ---- the scales: one code path, other numbers

_POCKET = dict(
    bases=2, device="cpu", corpus="generated", train_reviews=6000, eval_prompts=512, eval_reviews=256,
    prompt=12, length=24, context=80,
    lm_width=64, lm_layers=2, lm_heads=2, lm_steps=1000, lm_batch=32, lm_lr=1e-2,
    rm_width=48, rm_layers=2, rm_heads=2, rm_steps=500, rm_batch=64, rm_lr=2e-3,
    updates=75, batch=64, minibatch=64, epochs=4, lr=2e-4, value_lr=1e-3, value_net=None, weight_decay=0.0,
    grad_clip=1.0, clip=0.2, value_clip=0.2, gamma=1.0, lam=0.95, whiten=True,
    replay=None, gold_labels=None, kl="k1", kl_anchor="initial", target_kl=0.5, kl_rate=1 / 30,
    temperature=1.0, top_k=0, top_p=1.0, eval_every=5,
)  # fmt: skip
_SMOKE = _POCKET | dict(
    train_reviews=400, eval_prompts=32, eval_reviews=16, lm_width=32, lm_layers=1, lm_steps=60,
    rm_width=16, rm_layers=1, rm_steps=60, rm_batch=32, updates=6, batch=16, minibatch=16, epochs=2, eval_every=1,
)  # fmt: skip
# A real language model and a real encoder; the policy learns through adapters, in its upper half alone, so that the
# lower half is computed once a batch.
_LAB = _POCKET | dict(
    device="auto", corpus="imdb", bases=1, train_reviews=20000, eval_prompts=128, eval_reviews=64,
    prompt=16, length=24, context=64,
    lm_name="smollm2-135m", rm_name="minilm-l6", rm_steps=600, rm_batch=32, rm_lr=1e-4,
    precision=None, lora_rank=16, lora_alpha=32, lora_layers=15,
    lora_on="q_proj+k_proj+v_proj+o_proj+gate_proj+up_proj+down_proj",
    updates=24, batch=32, minibatch=32, epochs=3, lr=7e-4, value_coef=0.1, target_kl=None, kl_rate=0.0, eval_every=4,
) | {f"lm_{name}": None for name in ("width", "layers", "heads", "steps", "batch", "lr")} | {
    f"rm_{name}": None for name in ("width", "layers", "heads")
}  # fmt: skip
# Appendix B.1 and the authors' configuration: 50 epochs of 1,280 sampled tokens, five passes in steps of 64 tokens. A
# step here holds whole samples, so 64 tokens become 2 samples of 48.
_PAPER = _POCKET | dict(
    device="auto", corpus="imdb", bases=1, lm_name="lvwerra/gpt2-imdb",
    rm_name="lvwerra/distilbert-imdb@0fc02cd68445b599a9cb2da2368050e7fb31d29a", train_reviews=25000,
    eval_prompts=1024, eval_reviews=2048, prompt=64, prompts_at="half", length=48, context=1024, updates=50,
    batch=26, minibatch=2, epochs=5, lr=1e-6, value_lr=1e-6, weight_decay=1e-6, grad_clip=0.5, gamma=0.99, top_k=50,
    kl_rate=0.1, eval_every=1,
) | {
    f"{part}_{name}": None for part in ("lm", "rm") for name in ("width", "layers", "heads", "steps", "batch", "lr")
}  # fmt: skip
SCALES = dict(smoke=_SMOKE, pocket=_POCKET, lab=_LAB, paper=_PAPER)

# ---- the methods: the same loop with another mask or another plan

_RESETS = dict(decay=0.993, reset_every=25)  # half of θ0 is left in the average after 25 updates of 4 steps
_NLPO = dict(nlpo="as_published", mask_top_p=0.9, mask_min_keep=1, mask_every=10)
METHODS = {
    "ppo": dict(beta=0.1),
    "nlpo": dict(beta=0.1, **_NLPO),
    "elastic": dict(beta=0.01, mode="elastic", **_RESETS),
    "to_ema": dict(beta=0.01, mode="to_ema", **_RESETS),
    "to_init": dict(beta=0.01, mode="to_init", **_RESETS),
    "track": dict(beta=0.01, mode="track", **_RESETS),
    # rivals since the paper: the KL's reference moves to the policy
    "reference": dict(beta=0.03, reference_every=25),
    "ema_pg": dict(beta=0.03, reference_every=10, reference_rate=0.1),
    "elastic_reference": dict(beta=0.03, mode="elastic", **_RESETS, reference_every=25),
    # another average to read out; and a penalty on the norm of the gradient
    "bema": dict(beta=0.01, mode="track", ema_power=0.8, bias_power=0.5),
    "grad_reg": dict(beta=0.01, grad_penalty=0.01),
    # and one that learns nothing: the straight line from θ0 to where the run whose average is read out ended
    "line": dict(beta=0.01, weights_of="track"),
    # … or asks the pretrained policy again: n doubles from evaluation to evaluation, 1 to 256
    "best_of_n": dict(beta=0.0, best_of=256, updates=40),
}
SAYS_BETA = tuple(name for name in METHODS if name != "best_of_n")  # methods whose name is followed by their β
LEADS = "track"  # the method whose runs keep their state for others that begin as they do
RESETS_AT_SCALE = {  # of every method that averages
    "smoke": dict(decay=0.84, reset_every=2),
    "lab": dict(beta=0.02, decay=decay_for(left=0.5, moves=24), reset_every=8),
    "paper": dict(beta=0.001, target_kl=1.0, decay=0.995, reset_every=17, ema_every="rollout"),
}
MOVES_AT_SCALE = {  # updates from move to move of the KL's reference
    "smoke": dict(reference=2, elastic_reference=2, ema_pg=1),
    "lab": dict(reference=8, elastic_reference=8, ema_pg=3),
    "paper": dict(reference=17, elastic_reference=17, ema_pg=7),
}
# Two moves make three optimisations here too: β is three times that of Elastic Reset, as at pocket; nothing was tuned.
MOVING_BETA_AT_SCALE = {"lab": dict(beta=0.06)}
METHOD_AT_SCALE = {
    ("paper", "nlpo"): dict(beta=1.0, target_kl=1.0, mask_min_keep=100, mask_every=50),
    ("lab", "line"): dict(beta=0.02),
    ("smoke", "best_of_n"): dict(best_of=8, updates=3),
    ("lab", "best_of_n"): dict(best_of=8, updates=12),
    ("paper", "best_of_n"): dict(updates=8),
    ("paper", "line"): dict(beta=0.001, target_kl=1.0),
} | {
    (scale, method): dict(reference_every=every) | MOVING_BETA_AT_SCALE.get(scale, {})
    for scale, moves in MOVES_AT_SCALE.items()
    for method, every in moves.items()
}
NET_AT_SCALE: dict[tuple[str, str], dict] = {}

# ---- what is pretrained, and the settings that it depends on

CORPORA = ("imdb",)  # of real text, beside the generated world
PARTS = ("lm", "rm")
MADE_FROM: dict[str, str] = {}
BASE_SETTINGS = (
    "base", "corpus", "train_reviews", "context", "vocabulary", "prompt", "length",
    "lm_name", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
    "rm_name", "rm_width", "rm_layers", "rm_heads", "rm_steps", "rm_batch", "rm_lr",
)  # fmt: skip


def parts(recipe) -> tuple[str, ...]:
    """The pretrained models that a run needs."""
    return PARTS


def check(recipe) -> None:
    """Refuses settings that mean nothing together."""
    if recipe.kl_anchor == "lm":
        raise ValueError("kl_anchor=lm is an English language model: translation has one")
    if recipe.lora_rank is not None and (recipe.lm_name is None or recipe.value_coef is None):
        raise ValueError("adapters need a pretrained policy to sit in (lm_name) and a value head on it (value_coef)")
    if recipe.gold_labels is not None and recipe.rm_name is not None and recipe.rm_steps is None:
        raise ValueError("gold_labels is of reward models that are trained here (rm_steps): a proxy is a smaller one")
    if recipe.precision is not None and recipe.lora_rank is None:
        raise ValueError(
            "precision is of the frozen weights under adapters (lora_rank); what learns is in single precision"
        )
    if recipe.lora_rank is None and recipe.value_coef is not None:
        raise ValueError(
            "value_coef is for a policy with adapters (lora_rank): others have a value network of their own"
        )
    sizes = ("width", "layers", "heads", "steps", "batch", "lr")
    needed = [f"{part}_{name}" for part in PARTS if getattr(recipe, f"{part}_name") is None for name in sizes]
    if recipe.rm_name is not None and recipe.rm_steps is not None:
        needed += ["rm_batch", "rm_lr"]
    recipe.needs("a model that is trained here", needed)
    if recipe.corpus != "generated" and recipe.lm_name is None:
        raise ValueError("real reviews are read by a pretrained policy: say which (lm_name)")


# ---- the runs behind the figures


def left(share: float, every: float = 25) -> float:
    """The η a gradient step, four an update, that leaves such a share of θ0 in the average at a reset."""
    return round(decay_for(share, 4 * every), 5)


FIVE = dict(reset_every=13, decay=left(0.5, 13))  # five resets in the 75 updates
ABLATIONS = {  # of the sentiment task: Section 6, Appendices D and E, and what nobody has published
    "five resets": [(method, FIVE) for method in ("elastic", "to_ema", "to_init")],
    "decay": [("elastic", {"decay": left(share)}) for share in (0.02, 0.1, 0.25, 0.75, 0.9)],
    "ppo": [("ppo", {"beta": beta}) for beta in (0.01, 0.03, 0.1, 0.3, 1.0)],
    "nlpo": [("nlpo", {"beta": beta}) for beta in (0.01, 0.03, 0.1, 0.3, 1.0)],
    "elastic": [("elastic", {"beta": beta}) for beta in (0.001, 0.003, 0.01, 0.03, 0.1)],
    "no kl": [(method, {"beta": 0.0}) for method in ("ppo", "nlpo", "elastic")],
    "frequency": [("elastic", dict(reset_every=n, decay=left(0.5, n))) for n in (10, 15, 37)],
    "cadence": [("elastic", {"ema_every": "rollout", "decay": decay}) for decay in (left(0.5, 25 / 4), 0.995)],
    "two minibatches": [  # with one, every gradient step is a PPO epoch
        ("elastic", {"minibatch": 32, "decay": left(0.5, 50)}),
        ("elastic", {"minibatch": 32, "ema_every": "epoch", "decay": left(0.5)}),
    ],
    "anchor": [("elastic", {"kl_anchor": "ema"})],
    "cleared": [("elastic", {name: "clear"}) for name in ("optimizer", "value")],
    "theta0": [("elastic", {"theta0": "bfloat16"})],
    "value": [("ppo", {"value_net": "reward"}), ("ppo", {"beta": 0.01, "value_net": "reward"})],
}
BETAS = {  # a method's best is one of these
    "ppo": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),  # the paper's: ten times smaller to ten times larger than 0.1, and none
    "elastic": (0.001, 0.003, 0.01, 0.03, 0.1),
}
ONE_RANGE = (0.0, 0.01, 0.03, 0.1)  # tried for PPO and for Elastic Reset alike
BETAS_AT_SCALE = {("lab", "ppo"): (0.1, 0.02, 0.0), ("lab", "elastic"): (0.02,)}


def betas(method: str, scale: str) -> tuple[float, ...]:
    """The KL coefficients that a method's best is looked for among, at a scale."""
    return BETAS_AT_SCALE.get((scale, method), BETAS[method])


CORE = [
    *(("ppo", {"beta": beta}) for beta in (0.1, 0.03, 0.01, 0.0)),
    ("nlpo", {}),
    *(("elastic", {"beta": beta}) for beta in (0.01, 0.001)),
    *((method, {}) for method in ("to_ema", "to_init", "track")),
]
# What was tried: of PPO and Elastic Reset two rates with three β each, on seeds 100 and 101. Of what came since four
# settings at most, on seed 100, and at least the best two of them on seed 101 too; the larger mean hypervolume of those
# that have both is the method's own. Two moves make three optimisations, and seven make eight: β is 1, 3 or 8 times
# that of a PPO that is there too.
RATES = ({}, {"lr": 3e-4})
TRIED = {
    "ppo": [("ppo", {"beta": beta, **rate}) for rate in RATES for beta in (0.01, 0.03, 0.1)],
    "elastic": [("elastic", {"beta": beta, **rate}) for rate in RATES for beta in (0.001, 0.01, 0.1)],
    "reference": [
        *(("reference", {"beta": beta, "reference_every": 25}) for beta in (0.03, 0.09, 0.3)),
        ("reference", {"beta": 0.24, "reference_every": 10}),
    ],
    "elastic_reference": [
        ("elastic_reference", dict(beta=beta, reference_every=n)) for beta in (0.03, 0.09) for n in (10, 25)
    ],
    "bema": [
        ("bema", dict(ema_power=falls, bias_power=ahead), "ema_task", "ema_drift")  # what is read out
        for falls in (0.5, 0.8)
        for ahead in (0.2, 0.5)
    ],
    "grad_reg": [
        *(("grad_reg", {"grad_penalty": gamma, "beta": 0.0}) for gamma in (0.001, 0.01, 0.1)),  # as published
        ("grad_reg", {"grad_penalty": 0.01, "beta": 0.01}),
    ],
}
# best-of-n, minutes a run, is asked for by name
BEYOND = ("reference", "ema_pg", "elastic_reference", "line", "bema", "grad_reg")
# Paid by a proxy of the reward model: each method as it is elsewhere, none tuned for this. Of how few labels the proxy
# is was chosen by PPO with the weak KL alone, on seed 100: of 12, 30 and 100, the number with which the gold reward
# rises and then falls (0.53, at most 0.56, 0.53 in the end); with 30 it stays (0.67, 0.66), with 100 it rises.
# Labels that say yes or no alone were tried before probabilities, on that seed too. At lab the same three were tried on
# the same seed by PPO with its weak KL: the one that loses the largest share of its gain in gold by the end was to be
# taken, the fewer labels of two that lose as much. It is 12 there too (14% lost; with 30 labels 3%, with 100 none).
GOLD_LABELS = 12


def paid_by_a_proxy(scale: str) -> dict[str, tuple[str, dict]]:
    """The settings that a proxy pays, by the part that each plays; `ppo` has the weak KL, that of Elastic Reset."""
    weak = RESETS_AT_SCALE.get(scale, {}).get("beta", METHODS["elastic"]["beta"])
    settings = {
        "ppo": ("ppo", {"beta": weak}),
        "stronger-kl": ("ppo", {}),
        "nlpo": ("nlpo", {}),
        "elastic": ("elastic", {}),
        "reference-resets": ("reference", {}),
        "best-of-n": ("best_of_n", {}),
    }
    return {part: (method, {**changed, "gold_labels": GOLD_LABELS}) for part, (method, changed) in settings.items()}


# When to reset, four settings each: on seed 100, the best two of them on seed 101 too, as above. The fixed intervals
# leave half of θ0 in the average at each reset; what adapts keeps the η of the method, since nobody knows how long.
SCHEDULES = {
    "fixed": [("elastic", dict(reset_every=n, decay=left(0.5, n))) for n in (10, 15, 25, 37)],
    "adaptive": [
        ("elastic", dict(reset_every=None, min_interval=10, **due))
        for due in (*({"kl_budget": kl} for kl in (3.0, 6.0, 9.0)), {"min_slope": 0.05})
    ],
}
FIXED, ADAPTIVE = SCHEDULES["fixed"][2], SCHEDULES["adaptive"][3]
# How often in a run of another length? By the rule of `starting_point`, found in runs of 75 updates: a reset after each
# third, with half of θ0 left in the average. It comes first, three other intervals stand beside it: all on seeds 100
# and 101, then the rule and the best of the others on seeds 0 to 4.
LENGTHS = {
    updates: [
        ("elastic", dict(updates=updates, reset_every=n, decay=left(0.5, n)))
        for n in (starting_point(updates)[0], *(updates // part for part in (8, 5, 2)))
    ]
    for updates in (40, 150)
}
THUMB = {40: (LENGTHS[40][0], LENGTHS[40][3]), 150: (LENGTHS[150][0], LENGTHS[150][1])}
# On a real model, 24 updates with resets at 8 and 16: one at the half beside them, with half of θ0 left there too.
AT_THE_HALF = ("elastic", dict(reset_every=12, decay=decay_for(left=0.5, moves=36)))
# What the paper's Limitations leave open: two clocks, resets of a part of the weights, half the way back, and what was
# said before a reset learned from again after it. Each once, none tuned; written down before any run of them.
LIMITS = {
    "average-restarted-twice-as-often": ("elastic", {"ema_reset_every": 12}),
    "average-restarted-half-as-often": ("elastic", {"ema_reset_every": 50}),
    "upper-layers": ("elastic", {"part": "upper"}),
    "lower-layers": ("elastic", {"part": "lower"}),
    "attention": ("elastic", {"part": "attention"}),
    "half-the-way-to-the-average": ("elastic", {"restore": 0.5}),
    "half-the-way-to-the-start": ("elastic", {"restart": 0.5}),
    "shrinking": ("to_init", {"restore": 0.5}),
    "replay-of-one-update": ("elastic", {"replay": 1}),
    "replay-of-five-updates": ("elastic", {"replay": 5}),
}
FULL = [
    *CORE,
    ("nlpo", {"nlpo": "as_shipped"}),
    *(setting for settings in ABLATIONS.values() for setting in settings),
    *((method, {}) for method in BEYOND),
    *(setting for part, setting in paid_by_a_proxy("pocket").items() if part != "best-of-n"),
    *LIMITS.values(),
]
GRID_AT_SCALE = {  # core and full, where a run takes half an hour
    "lab": (
        [("ppo", {"beta": 0.02}), ("elastic", {})],
        [
            *(("ppo", {"beta": beta}) for beta in (0.02, 0.1, 0.0)),
            *(("elastic", {"beta": beta}) for beta in (0.02, 0.0)),
            *(
                (method, {})
                for method in ("nlpo", "to_ema", "to_init", "track", "line", "reference", "elastic_reference")
            ),
            AT_THE_HALF,
            *paid_by_a_proxy("lab").values(),
        ],
    )
}
GLANCE = [("ppo", {"beta": 0.01}), ("ppo", {}), ("elastic", {})]  # without resets, with a stronger KL, with resets
GLANCE_AT_SCALE = {"lab": [("ppo", {"beta": 0.02}), ("ppo", {}), ("elastic", {})]}

# ---- the paper's tables: its numbers are of GPT-2 on real reviews

TABLES = {
    2: Table(
        "IMDB mock sentiment, final test scores",
        "final_scores",
        [("ppo", {}), ("nlpo", {}), ("elastic", {})],
        {
            "Zero-shot": (".489 ± 0.01", "32.45 ± 0.13"),
            "PPO": (".596 ± 0.02", "33.45 ± 0.40"),
            "NLPO": (".558 ± 0.06", "33.12 ± 0.74"),
            "Elastic Reset": (".611 ± 0.02", "33.32 ± 0.23"),
        },
    )
}
