"""The numbers behind the names: scales and methods."""

from __future__ import annotations

# ---- the scales: one code path, other numbers

_POCKET = dict(
    bases=2, device="cpu", corpus="generated", train_reviews=6000, eval_prompts=512, eval_reviews=256,
    prompt=12, length=24, context=80,
    lm_width=64, lm_layers=2, lm_heads=2, lm_steps=1000, lm_batch=32, lm_lr=1e-2,
    rm_width=48, rm_layers=2, rm_heads=2, rm_steps=500, rm_batch=64, rm_lr=2e-3,
    updates=75, batch=64, minibatch=64, epochs=4, lr=2e-4, value_lr=1e-3, value_net=None, weight_decay=0.0,
    grad_clip=1.0, clip=0.2, value_clip=0.2, gamma=1.0, lam=0.95, whiten=True,
    kl="k1", kl_anchor="initial", target_kl=0.5, kl_rate=1 / 30, temperature=1.0, top_k=0, top_p=1.0, eval_every=5,
)  # fmt: skip
_SMOKE = _POCKET | dict(
    train_reviews=400, eval_prompts=32, eval_reviews=16, lm_width=32, lm_layers=1, lm_steps=60,
    rm_width=16, rm_layers=1, rm_steps=60, rm_batch=32, updates=6, batch=16, minibatch=16, epochs=2, eval_every=1,
)  # fmt: skip
_LAB = _POCKET | dict(
    device="auto", corpus="imdb", vocabulary=4096, train_reviews=20000, eval_reviews=512, prompt=16, length=32,
    context=192, lm_width=192, lm_layers=4, lm_heads=6, lm_steps=3000, lm_lr=2e-3,
    rm_width=96, rm_heads=4, rm_steps=1500, rm_lr=1e-3,
    updates=60, lr=1.5e-4, value_lr=4e-4,
)  # fmt: skip
# Appendix B.1 and the authors' configuration: 50 epochs of 1,280 sampled tokens, five passes in steps of 64 tokens. A
# step here holds whole samples, so 64 tokens become 2 samples of 48.
_PAPER = _LAB | dict(
    bases=1, lm_name="lvwerra/gpt2-imdb", rm_name="lvwerra/distilbert-imdb", vocabulary=None, train_reviews=25000,
    eval_prompts=1024, eval_reviews=2048, prompt=64, length=48, context=1024,
    updates=50, batch=26, minibatch=2, epochs=5, lr=1e-6, value_lr=1e-6, weight_decay=1e-6, grad_clip=0.5,
    gamma=0.99, top_k=50, kl_rate=0.1, eval_every=1,
) | {
    f"{part}_{name}": None for part in ("lm", "rm") for name in ("width", "layers", "heads", "steps", "batch", "lr")
}  # fmt: skip
SENTIMENT = dict(smoke=_SMOKE, pocket=_POCKET, lab=_LAB, paper=_PAPER)

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
    device="auto", corpus="multi30k", distance=None, pretraining="tatoeba", lowercase="after", vocabulary=8000,
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
TRANSLATION = dict(smoke=_SMOKE, pocket=_POCKET, lab=_LAB, paper=_PAPER)

_POCKET = dict(
    bases=2, device="cpu", corpus="generated", train_questions=4000, eval_prompts=256, eval_answers=512,
    prompt=26, length=50, context=80,
    lm_width=64, lm_layers=3, lm_heads=4, lm_steps=1500, lm_batch=32, lm_lr=5e-3,
    rm_steps=200, rm_batch=64, rm_lr=1e-3, lora_rank=8, lora_alpha=16, lora_on="q_proj+v_proj",
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
_LAB = _POCKET | dict(
    device="auto", corpus="stackexchange", vocabulary=8192, train_questions=3000, prompt=96, length=96, context=256,
    lm_width=256, lm_layers=6, lm_heads=8, lm_steps=3000, lm_lr=1e-3, rm_steps=600, rm_lr=2e-4, exam="none",
    lr=3e-4, value_lr=3e-3,
)  # fmt: skip
# Appendix C, and the authors' configuration of TRL: 4 GPUs with 16 samples each, steps of 8 on each; its controller
# steers β towards 6 nats a sample of 80 tokens, with a horizon of 10,000 samples.
_PAPER = _LAB | dict(
    bases=1, vocabulary=None, train_questions=10**6, eval_answers=4000, prompt=512, length=128, context=1024,
    lm_name="huggyllama/llama-7b", lm_adapter="trl-lib/llama-7b-se-peft", rm_steps=12000, rm_batch=16, rm_micro=4,
    rm_lr=2e-5, lora_rank=16, lora_alpha=32, exam="humaneval", exam_questions=164, exam_samples=100, exam_length=256,
    updates=600, batch=64, minibatch=32, lr=1.41e-5, value_lr=1.41e-5, target_kl=6 / 80, kl_rate=64 / 10000,
    eval_every=10,
) | {f"lm_{name}": None for name in ("width", "layers", "heads", "steps", "batch", "lr")}  # fmt: skip
ANSWERS = dict(smoke=_SMOKE, pocket=_POCKET, lab=_LAB, paper=_PAPER)

SCALES = {
    name: {"sentiment": SENTIMENT[name], "translation": TRANSLATION[name], "answers": ANSWERS[name]}
    for name in SENTIMENT
}

# ---- the methods: the same loop with another mask or another plan

RESETS = dict(decay=0.993, reset_every=25)
GAME_RESETS = dict(decay=0.99506, reset_every=140)  # half of θ0 is left in the average at a reset
ANSWER_RESETS = dict(decay=0.98571, reset_every=40)  # a tenth of θ0 is left after 40 · 4 steps
NLPO = dict(nlpo="as_published", mask_top_p=0.9, mask_min_keep=1, mask_every=10)
METHODS = {
    "sentiment": {
        "ppo": dict(beta=0.1),
        "nlpo": dict(beta=0.1, **NLPO),
        "elastic": dict(beta=0.01, mode="elastic", **RESETS),
        "to_ema": dict(beta=0.01, mode="to_ema", **RESETS),
        "to_init": dict(beta=0.01, mode="to_init", **RESETS),
        "track": dict(beta=0.01, mode="track", **RESETS),
    },
    "translation": {
        "frozen": dict(beta=0.0, estimator="none"),
        "reinforce": dict(beta=0.0),
        "gumbel": dict(beta=0.0, estimator="gumbel", gumbel_temperature=1.0),
        "kl": dict(beta=0.05),
        "kl_lm": dict(beta=0.05, kl_anchor="lm"),
        "multitask": dict(beta=0.0, multitask=1.0, multitask_batch=32),
        "sil": dict(beta=0.0, sil_teacher=100, sil_student=10, sil_lr=5e-4),
        "to_init": dict(beta=0.0, mode="to_init", **GAME_RESETS),
        "to_ema": dict(beta=0.0, mode="to_ema", **GAME_RESETS),
        "elastic": dict(beta=0.001, mode="elastic", **GAME_RESETS),
    },
    "answers": {
        "ppo": dict(beta=0.02),
        "elastic": dict(beta=0.02, mode="elastic", **ANSWER_RESETS),
        "to_ema": dict(beta=0.02, mode="to_ema", **ANSWER_RESETS),
        "to_init": dict(beta=0.02, mode="to_init", **ANSWER_RESETS),
        "track": dict(beta=0.02, mode="track", **ANSWER_RESETS),
    },
}
_AVERAGING = {
    task: [name for name, numbers in methods.items() if "mode" in numbers] for task, methods in METHODS.items()
}
_RESETS_AT_SCALE = {
    ("sentiment", "smoke"): dict(decay=0.84, reset_every=2),
    ("sentiment", "lab"): dict(decay=0.5 ** (1 / 80), reset_every=20),
    ("sentiment", "paper"): dict(beta=0.001, target_kl=1.0, decay=0.995, reset_every=17, ema_every="rollout"),
    ("answers", "smoke"): dict(decay=0.84, reset_every=2),
    ("answers", "paper"): dict(decay=0.995, reset_every=260, ema_every="epoch"),
    ("translation", "smoke"): dict(decay=0.5, reset_every=2),
    ("translation", "lab"): dict(decay=0.25 ** (1 / 405), reset_every=405),
    ("translation", "paper"): dict(decay=0.99, reset_every=23000),
}
METHOD_AT_SCALE = {
    **{(task, scale, method): plan
       for (task, scale), plan in _RESETS_AT_SCALE.items() for method in _AVERAGING[task]},
    ("sentiment", "paper", "nlpo"): dict(beta=1.0, target_kl=1.0, mask_min_keep=100, mask_every=50),
    ("translation", "smoke", "sil"): dict(sil_teacher=2, sil_student=1),
    ("translation", "lab", "sil"): dict(sil_lr=3e-4),
    ("translation", "paper", "sil"): dict(sil_teacher=4000, sil_student=400, sil_lr=1e-4),
}  # fmt: skip

NET_AT_SCALE = {("pocket", "lstm"): dict(width=128, mt_lr=1e-2, lr=5e-4)}  # narrower or slower it hardly learns

CORPORA = {  # of real text; every task has a generated world too
    "sentiment": ("imdb",),
    "translation": ("multi30k",),
    "answers": ("stackexchange", "qa_feedback"),
}

# ---- what is pretrained, and the settings that it depends on

PARTS = {
    "sentiment": ("lm", "rm"),
    "translation": ("speaker", "listener", "lm"),
    "answers": ("lm", "rm", "rm_1", "rm_2"),
}
AFTER = {("answers", judge): "lm" for judge in ("rm", "rm_1", "rm_2")}  # they are made from it
BASE_FIELDS = {
    "sentiment": (
        "base", "corpus", "train_reviews", "context", "vocabulary", "prompt", "length",
        "lm_name", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
        "rm_name", "rm_width", "rm_layers", "rm_heads", "rm_steps", "rm_batch", "rm_lr",
    ),
    "translation": (
        "base", "corpus", "distance", "pretraining", "lowercase", "vocabulary", "pairs", "game_pairs", "eval_pairs",
        "domain_pairs", "domain_share", "buckets", "context", "net", "width", "layers", "heads", "feed", "dropout",
        "mt_steps", "mt_batch", "mt_lr", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
    ),
    "answers": (
        "base", "corpus", "train_questions", "eval_answers", "prompt", "length", "context", "vocabulary",
        "lm_name", "lm_adapter", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
        "rm_steps", "rm_batch", "rm_micro", "rm_lr",
    ),
}  # fmt: skip
