"""What is known of the answers task (Section 7, Appendix C) before anything runs."""

from __future__ import annotations

from elastic_lib.decay import decay_for
from elastic_lib.tasks.axes import Axes, Table, Yardstick

TITLE, COLOR = "Stack answers", "#3F7F7F"
TITLE_AT_SCALE = {"pocket": "Generated: answers", "lab": "Real: SmolLM2 on Stack Exchange"}
UNTRAINED, HEADS, DIGITS = "Zero-shot", ("↑ reward", "↓ perplexity"), 3  # of tables
YARDSTICK = Yardstick("lower", 2.0, 1.5)  # deviations above people's answers; perplexity
AXES = Axes(
    "PPO updates", "reward, in deviations", "perplexity of true answers (↓ better)",
    "perplexity, axis reversed (↑ better)", 0.02, 9.0,
)  # fmt: skip
UNSAID = ()
SAID = {  # values in words
    "task": "reward {:.2f} deviations",
    "judge_1": "reward {:.2f} deviations by another judge",
    "drift": "perplexity {:.2f}",
    "reward": "reward {:.2f} deviations",
    "kl": "KL {:.2f} nats",
}
COLUMNS = {
    "task": "mean reward of answers to held-out questions, in deviations of people's answers; higher is better",
    "drift": "perplexity on people's answers to held-out questions; lower is better",
    "length": "mean words that the policy chose a sample since the last row",
    "entropy": "mean of −log π of the sampled tokens since the last row, in nats",
    "explained_variance": "of the returns by the value head, at the last update",
    "value_loss": "at the last update",
    "clipped": "share of ratios outside the clip, at the last update",
    "judge_1": "`task` by a second reward model, which nothing is optimised for",
    "judge_2": "`task` by a third",
    "words": "mean words of an answer to a held-out question",
    "has_code": "share of them that hold code",
    "compiles": "share of them whose code compiles",
    "courtesy": "mean courtesies in one",
    "ema_task": "`task` of the average θ̄, where mode is track",
    "ema_drift": "`drift` of the average θ̄, where mode is track",
}
JUDGES = ("task", "judge_1", "judge_2")  # the three reward models' columns; the first is optimised
UNTOUCHED = ("reviews", "programs", "sentences")  # text that the task never touches, of which a scale takes perplexity
SHARED = True  # whether several processes can share a run
SYMPTOMS = {
    "words": "words an answer",
    "has_code": "share of answers with code",
    "compiles": "share of answers whose code compiles",
    "courtesy": "courtesies an answer",
}

# ---- the scales: one code path, other numbers

_POCKET = dict(
    bases=2, device="cpu", corpus="generated", train_questions=4000, eval_prompts=256, eval_answers=512,
    prompt=26, length=50, context=80,
    lm_width=64, lm_layers=3, lm_heads=4, lm_steps=1500, lm_batch=32, lm_lr=5e-3,
    rm_steps=200, rm_batch=64, rm_lr=1e-3, rm_bound=None, rehearsal=None, replay=None,
    lora_rank=8, lora_alpha=16, lora_on="q_proj+v_proj",
    exam="generated", exam_questions=60, exam_samples=10, exam_length=50,
    updates=90, batch=64, minibatch=64, epochs=4, lr=1e-3, value_lr=1e-2, value_coef=0.1, weight_decay=0.0,
    grad_clip=1.0, clip=0.2, value_clip=0.2, gamma=1.0, lam=0.95, whiten=True,
    kl="k1", kl_anchor="initial", target_kl=None, kl_rate=0.0, temperature=1.0, top_k=0, top_p=1.0, eval_every=5,
)  # fmt: skip
_SMOKE = _POCKET | dict(
    bases=1, train_questions=120, eval_prompts=12, eval_answers=16, lm_width=16, lm_layers=1, lm_heads=2, lm_steps=30,
    lm_batch=16, rm_steps=10, rm_batch=8, exam_questions=2, updates=6, batch=8, minibatch=8, epochs=2,
    eval_every=1,
)  # fmt: skip
# A real language model, finetuned through adapters on the beginnings of real answers, and three encoders as judges; the
# policy learns through adapters in its upper third alone, so that the rest is computed once a batch.
_LAB = _POCKET | dict(
    device="auto", corpus="stackexchange", vocabulary=None, bases=1,
    train_questions=3000, eval_prompts=96, eval_answers=64,
    prompt=32, length=32, context=96,
    lm_name="smollm2-135m", lm_steps=50, lm_batch=16, lm_lr=1e-3,
    rm_name="minilm-l6", rm_steps=300, rm_batch=16, rm_lr=1e-4,
    lora_rank=16, lora_alpha=32, lora_layers=10,
    lora_on="q_proj+k_proj+v_proj+o_proj+gate_proj+up_proj+down_proj",
    exam="untouched", exam_questions=48, exam_samples=1, exam_length=64,
    updates=20, batch=32, minibatch=32, epochs=3, lr=7e-4, value_lr=1e-3, eval_every=4,
) | {f"lm_{name}": None for name in ("width", "layers", "heads")}  # fmt: skip
# Appendix C, and the authors' configuration of TRL: 4 GPUs with 16 samples each, steps of 8 on each; its controller
# steers β towards 6 nats a sample of 80 tokens, with a horizon of 10,000 samples.
_PAPER = _LAB | dict(
    train_questions=10**6, eval_prompts=256, eval_answers=4000, prompt=512, length=128, context=1024,
    lm_name="huggyllama/llama-7b@4782ad278652c7c71b72204d462d6d01eaaf7549", lm_adapter="trl-lib/llama-7b-se-peft",
    rm_name=None, rm_steps=12000, rm_batch=16, rm_micro=4, rm_lr=2e-5,
    lora_on="q_proj+v_proj", lora_layers=None,
    exam="humaneval", exam_questions=164, exam_samples=100, exam_length=256, updates=600,
    batch=64, minibatch=32, epochs=4, lr=1.41e-5, value_lr=1.41e-5, target_kl=6 / 80, kl_rate=64 / 10000, eval_every=10,
) | {f"lm_{name}": None for name in ("steps", "batch", "lr")}  # fmt: skip
SCALES = dict(smoke=_SMOKE, pocket=_POCKET, lab=_LAB, paper=_PAPER)

# ---- the methods: the same loop with another plan

_RESETS = dict(decay=round(decay_for(left=0.1, moves=160), 5), reset_every=40)  # 40 updates of 4 steps
METHODS = {
    "ppo": dict(beta=0.02),
    "elastic": dict(beta=0.02, mode="elastic", **_RESETS),
    "to_ema": dict(beta=0.02, mode="to_ema", **_RESETS),
    "to_init": dict(beta=0.02, mode="to_init", **_RESETS),
    "track": dict(beta=0.02, mode="track", **_RESETS),
    # rivals since the paper: two moves of the reference make three optimisations, so that β is three times PPO's; a
    # reference that follows softly; and the straight line from θ0 to where the run whose average is read out ended
    "reference": dict(beta=0.06, reference_every=30),
    "ema_pg": dict(beta=0.02, reference_every=10, reference_rate=0.1),
    "line": dict(beta=0.02, weights_of="track"),
}
SAYS_BETA = tuple(METHODS)  # methods whose name is followed by their β
LEADS = "track"  # the method whose runs keep their state for others that begin as they do
RESETS_AT_SCALE = {  # of every method that averages
    "smoke": dict(decay=0.84, reset_every=2),
    "lab": dict(decay=round(decay_for(left=0.1, moves=27), 5), reset_every=9),
    "paper": dict(decay=0.995, reset_every=260, ema_every="epoch"),
}
METHOD_AT_SCALE = {
    (scale, method): dict(reference_every=every)
    for scale, moves in {"smoke": (2, 1), "lab": (7, 3), "paper": (200, 60)}.items()
    for method, every in zip(("reference", "ema_pg"), moves, strict=True)
}
NET_AT_SCALE: dict[tuple[str, str], dict] = {}

# ---- what is pretrained, and the settings that it depends on

CORPORA = ("stackexchange", "qa_feedback")  # of real text, beside the generated world
PARTS = ("lm", "rm", "rm_1", "rm_2")
MADE_FROM = dict.fromkeys(PARTS[1:], "lm")
BASE_SETTINGS = (
    "base", "corpus", "train_questions", "eval_answers", "prompt", "length", "context", "vocabulary",
    "lm_name", "lm_adapter", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
    "rm_name", "rm_steps", "rm_batch", "rm_micro", "rm_lr", "rm_bound",
)  # fmt: skip


def parts(recipe) -> tuple[str, ...]:
    """The pretrained models that a run needs."""
    return PARTS


def check(recipe) -> None:
    """Refuses settings that mean nothing together."""
    if recipe.lora_rank is None:
        raise ValueError("lora_rank must be 1 or more: answers learns through adapters alone")
    needed = ("lm_batch", "lm_lr") if recipe.lm_steps is not None else ()
    if recipe.lm_name is None:
        needed = ("lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr")
        needed += () if recipe.corpus == "generated" else ("vocabulary",)
    recipe.needs("a language model that is trained here (lm_name, lm_steps)", needed)
    if recipe.kl_anchor == "lm":
        raise ValueError("kl_anchor=lm is an English language model: translation has one")


# ---- the runs behind the figures

BETAS = (0.0, 0.02, 0.1)  # PPO's best is one of these
CORE = [(method, {}) for method in ("ppo", "elastic", "track")]
BEYOND = ("reference", "ema_pg", "line")  # with the β of theory or of PPO; nothing was tuned
# What stabilises PPO elsewhere (arXiv 2309.10202), with that paper's numbers, m = 2.5 and γ = 0.01; nothing was tuned.
STABLE = [
    ("ppo", {"rehearsal": 0.01}),
    ("ppo", {"rm_bound": 2.5}),
    ("ppo", {"rm_bound": 2.5, "rehearsal": 0.01}),
    ("elastic", {"rm_bound": 2.5, "rehearsal": 0.01}),
]
# The rule of `starting_point`, which was found on sentiment, in place of the n and η that were tuned here.
BY_THE_RULE = ("elastic", dict(reset_every=31, decay=round(decay_for(left=0.5, moves=124), 5)))
FULL = [
    *CORE,
    *(("ppo", {"beta": beta}) for beta in (0.0, 0.1)),
    ("elastic", {"beta": 0.0}),
    *((method, {}) for method in ("to_ema", "to_init")),
    BY_THE_RULE,
    *((method, {}) for method in BEYOND),
    *STABLE,
]
GRID_AT_SCALE: dict[str, tuple[list, list]] = {}
GLANCE = [("ppo", {}), ("ppo", {"beta": 0.1}), ("elastic", {})]  # without resets, with a stronger KL, with resets
GLANCE_AT_SCALE: dict[str, list] = {}

# ---- the paper's tables: its numbers are of LLaMA-7B, and its exam is HumanEval

TABLES = {
    3: Table(
        "StackLLaMA, three reward models and an exam",
        "alignment",
        [("ppo", {}), ("elastic", {})],
        {
            "Zero-shot": ("0", "4.43", "11.0", "12.7"),
            "PPO": ("0.81 ± 0.06", "4.62", "7.8", "10.7"),
            "Elastic Reset": ("0.96 ± 0.09", "4.57", "11.0", "13.0"),
        },
    )
}
