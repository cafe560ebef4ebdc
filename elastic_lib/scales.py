"""The numbers behind the names: scales, methods, and the grids of runs behind the figures."""

from __future__ import annotations

# ---- the scales: one code path, other numbers

POCKET = dict(
    bases=2, device="cpu", corpus="generated", train_reviews=6000, eval_prompts=512, eval_reviews=256,
    prompt=12, length=24, context=80,
    lm_width=64, lm_layers=2, lm_heads=2, lm_steps=1000, lm_batch=32, lm_lr=1e-2,
    rm_width=48, rm_layers=2, rm_heads=2, rm_steps=500, rm_batch=64, rm_lr=2e-3,
    updates=75, batch=64, minibatch=64, epochs=4, lr=2e-4, value_lr=1e-3, weight_decay=0.0, grad_clip=1.0,
    clip=0.2, value_clip=0.2, gamma=1.0, lam=0.95, whiten=True,
    kl="k1", kl_anchor="initial", target_kl=0.5, kl_rate=1 / 30, temperature=1.0, top_k=0, top_p=1.0, eval_every=5,
)  # fmt: skip
SMOKE = POCKET | dict(
    train_reviews=400, eval_prompts=32, eval_reviews=16, lm_width=32, lm_layers=1, lm_steps=60,
    rm_width=16, rm_layers=1, rm_steps=60, rm_batch=32, updates=6, batch=16, minibatch=16, epochs=2, eval_every=1,
)  # fmt: skip
LAB = POCKET | dict(
    device="auto", corpus="imdb", vocabulary=4096, train_reviews=20000, eval_reviews=512, prompt=16, length=32,
    context=192, lm_width=192, lm_layers=4, lm_heads=6, lm_steps=3000, lm_lr=2e-3,
    rm_width=96, rm_heads=4, rm_steps=1500, rm_lr=1e-3,
    updates=60, lr=1.5e-4, value_lr=4e-4,
)  # fmt: skip
# Appendix B.1 and the authors' configuration: 50 epochs of 1,280 sampled tokens, five passes in steps of 64 tokens. A
# step here holds whole samples, so 64 tokens become 2 samples of 48.
PAPER = LAB | dict(
    bases=1, lm_name="lvwerra/gpt2-imdb", rm_name="lvwerra/distilbert-imdb", vocabulary=None, train_reviews=25000,
    eval_prompts=1024, eval_reviews=2048, prompt=64, length=48, context=1024,
    updates=50, batch=26, minibatch=2, epochs=5, lr=1e-6, value_lr=1e-6, weight_decay=1e-6, grad_clip=0.5,
    gamma=0.99, top_k=50, kl_rate=0.1, eval_every=1,
) | {
    f"{part}_{name}": None for part in ("lm", "rm") for name in ("width", "layers", "heads", "steps", "batch", "lr")
}  # fmt: skip
SCALES = {name: {"sentiment": numbers} for name, numbers in
          dict(smoke=SMOKE, pocket=POCKET, lab=LAB, paper=PAPER).items()}  # fmt: skip

# ---- the methods: the same loop with another mask or another plan

RESETS = dict(decay=0.993, reset_every=25)
NLPO = dict(nlpo="as_published", mask_top_p=0.9, mask_min_keep=1, mask_every=10)
METHODS = {
    "sentiment": {
        "ppo": dict(beta=0.1),
        "nlpo": dict(beta=0.1, **NLPO),
        "elastic": dict(beta=0.01, mode="elastic", **RESETS),
        "to_ema": dict(beta=0.01, mode="to_ema", **RESETS),
        "to_init": dict(beta=0.01, mode="to_init", **RESETS),
        "track": dict(beta=0.01, mode="track", **RESETS),
    }
}
_SMOKE_RESETS = dict(decay=0.84, reset_every=2)
_LAB_RESETS = dict(decay=0.5 ** (1 / 80), reset_every=20)
_PAPER_RESETS = dict(beta=0.001, target_kl=1.0, decay=0.995, reset_every=17, ema_every="rollout")
METHOD_AT_SCALE = {
    **{(scale, method): plan
       for scale, plan in dict(smoke=_SMOKE_RESETS, lab=_LAB_RESETS, paper=_PAPER_RESETS).items()
       for method in ("elastic", "to_ema", "to_init", "track")},
    ("paper", "nlpo"): dict(beta=1.0, target_kl=1.0, mask_min_keep=100, mask_every=50),
}  # fmt: skip

BASE_FIELDS = {
    "sentiment": (
        "base", "corpus", "train_reviews", "context", "vocabulary", "prompt", "length",
        "lm_name", "lm_width", "lm_layers", "lm_heads", "lm_steps", "lm_batch", "lm_lr",
        "rm_name", "rm_width", "rm_layers", "rm_heads", "rm_steps", "rm_batch", "rm_lr",
    )
}  # fmt: skip

# ---- the grids

CORE = {
    "sentiment": [
        *(("ppo", {"beta": beta}) for beta in (0.1, 0.03, 0.01, 0.0)),
        ("nlpo", {}),
        *(("elastic", {"beta": beta}) for beta in (0.01, 0.001)),
        *((method, {}) for method in ("to_ema", "to_init", "track")),
    ]
}
FULL = {
    "sentiment": [
        *CORE["sentiment"],
        ("nlpo", {"nlpo": "as_shipped"}),
        ("elastic", {"beta": 0.0}),
        ("elastic", {"beta": 0.1}),
    ]
}
