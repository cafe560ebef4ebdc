"""What a run is: a frozen `Recipe`, made from a method and a scale by name.

A method is a recipe with other numbers, not another class. A field that a run does not use is None and stays out of its
hash, so a field added later changes no `run_id`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from types import ModuleType
from typing import Any

from elastic_lib.recipe.reset_plan import ResetPlan
from elastic_lib.recipe.rules import (
    COEFFICIENT,
    COUNT,
    FLAG,
    NAME,
    POSITIVE,
    SEED,
    SHARE,
    WHOLE,
    Rule,
    check_fields,
    check_known,
    one_of,
    setting,
    unknown,
)
from elastic_lib.tasks import SCALES, TASKS, facts

CORPORA = [corpus for task in TASKS for corpus in facts(task).CORPORA]


@dataclass(frozen=True, init=False)
class Recipe:
    """Everything that determines a run. `Recipe("sentiment", "elastic", "pocket", seed=0, beta=0.001, decay=0.99)`."""

    task: str
    method: str
    scale: str
    seed: int
    base: int = setting(WHOLE, "which pretrained models the run starts from: by default seed modulo `bases`")
    bases: int = setting(COUNT, "number of pretrained bases that seeds are spread over")
    device: str = setting(one_of("cpu", "auto"), "auto takes a GPU where there is one")
    corpus: str = setting(one_of("generated", *CORPORA), "where the text comes from")
    train_reviews: int = setting(COUNT, "reviews that the models are pretrained on")
    train_questions: int = setting(COUNT, "questions, with all their answers, that the models are trained on")
    eval_prompts: int = setting(COUNT, "prompts that the reward is measured on")
    eval_reviews: int = setting(COUNT, "held-out reviews that perplexity is measured on")
    eval_answers: int = setting(COUNT, "held-out answers that perplexity is measured on")
    prompt: int = setting(COUNT, "tokens of a prompt, the first of the text, <bos> not counted; at most, of a question")
    prompts_at: str | None = setting(
        one_of("half"), "half: prompts end the first half of a review; none: they begin it"
    )
    length: int = setting(COUNT, "tokens sampled after it; at most, of an answer")
    context: int = setting(Rule(int, 8), "longest text that the models read")
    vocabulary: int | None = setting(Rule(int, 300), "size of the BPE; none: the closed vocabulary of the world")
    lm_name: str | None = setting(NAME, "pretrained policy from the hub or a folder; none: trained here")
    lm_adapter: str | None = setting(NAME, "published adapter that is merged into it")
    lm_width: int | None = setting(COUNT, "width of the language model")
    lm_layers: int | None = setting(COUNT, "its layers")
    lm_heads: int | None = setting(COUNT, "its heads")
    lm_steps: int | None = setting(COUNT, "pretraining steps")
    lm_batch: int | None = setting(COUNT, "texts a pretraining step")
    lm_lr: float | None = setting(POSITIVE, "AdamW's peak rate")
    rm_name: str | None = setting(NAME, "classifier of reviews, or encoder that rm_steps finetune; none: trained here")
    rm_width: int | None = setting(COUNT, "width of the reward model")
    rm_layers: int | None = setting(COUNT, "its layers")
    rm_heads: int | None = setting(COUNT, "its heads")
    rm_steps: int | None = setting(COUNT, "training steps")
    rm_batch: int | None = setting(COUNT, "texts a training step")
    rm_lr: float | None = setting(POSITIVE, "AdamW's peak rate")
    rm_micro: int | None = setting(COUNT, "texts at a time within a step; none: all")
    rm_bound: float | None = setting(
        POSITIVE, "m: what is optimised is an advantage model within −m to m; none: it is not"
    )
    precision: str | None = setting(one_of("bfloat16"), "of the frozen weights under adapters; none: single precision")
    lora_rank: int | None = setting(COUNT, "rank of the adapters, which alone learn; none: all of the policy does")
    lora_alpha: int = setting(COUNT, "their scale, times the rank")
    lora_on: str = setting(NAME, "kinds of layers that have one, joined by +")
    lora_layers: int | None = setting(COUNT, "only so many of the last layers have any; none: all")
    exam: str = setting(
        one_of("generated", "humaneval", "untouched", "none"),
        "the alignment tax: programs that are run, or text that the task never touches",
    )
    exam_questions: int = setting(COUNT, "their number, or that of texts of each kind")
    exam_samples: int = setting(COUNT, "answers to each, from which pass@k is estimated")
    exam_length: int = setting(COUNT, "longest answer, or the beginning of a text, in tokens")
    distance: str | None = setting(one_of("near", "middle", "far"), "from the pretraining's domain to the game's")
    pretraining: str | None = setting(one_of("tatoeba", "iwslt"), "real sentence pairs that come before the game's")
    lowercase: str | None = setting(one_of("after", "before", "never"), "after or before the text is tokenised")
    pairs: int = setting(COUNT, "sentence pairs that a translator is pretrained on")
    domain_pairs: int | None = setting(COUNT, "pairs of the game's domain that pretraining sees, and the game does not")
    domain_share: float | None = setting(SHARE, "their share of what pretraining reads")
    game_pairs: int = setting(COUNT, "sentence pairs that the game is played on")
    eval_pairs: int = setting(COUNT, "held-out sentences that BLEU is measured on")
    buckets: int = setting(COUNT, "a batch holds sentences of like length: one of so many bins; 1: of any length")
    net: str = setting(one_of("transformer", "lstm"), "what the translators are")
    width: int = setting(COUNT, "width of a translator")
    layers: int = setting(COUNT, "layers of its encoder, and of its decoder")
    heads: int | None = setting(COUNT, "its attention heads")
    feed: int | None = setting(COUNT, "width of its MLPs")
    dropout: float = setting(SHARE, "in pretraining; the game is played without")
    mt_steps: int = setting(COUNT, "pretraining steps of a translator")
    mt_batch: int = setting(COUNT, "pairs a pretraining step")
    mt_lr: float = setting(POSITIVE, "AdamW's peak rate")
    updates: int = setting(COUNT, "updates, each on a fresh batch of samples")
    batch: int = setting(COUNT, "samples an update")
    minibatch: int = setting(COUNT, "samples an optimiser step; divides batch")
    epochs: int = setting(COUNT, "passes over the batch")
    lr: float = setting(POSITIVE, "Adam's rate for the policy")
    value_lr: float = setting(POSITIVE, "Adam's rate for the value network")
    value_coef: float | None = setting(POSITIVE, "of a value head on the policy; none: a value network of its own")
    value_net: str | None = setting(one_of("reward"), "the frozen reward model as value; none: a value that learns")
    weight_decay: float = setting(COEFFICIENT, "of both")
    grad_clip: float = setting(POSITIVE, "largest gradient norm of either")
    grad_penalty: float | None = setting(POSITIVE, "γ of gradient regularisation; none: none")
    grad_reach: float | None = setting(POSITIVE, "ε of it: a step so long, times the gradient, tries how that changes")
    rehearsal: float | None = setting(
        POSITIVE, "γ of the loss on the best of what the policy said at first; none: none"
    )
    replay: int | None = setting(
        COUNT, "updates before a reset whose samples are learned from again after it; none: none"
    )
    clip: float = setting(POSITIVE, "PPO's clip of the ratio")
    value_clip: float = setting(POSITIVE, "how far a value may move in an update")
    gamma: float = setting(SHARE, "discount")
    lam: float = setting(SHARE, "λ of the generalised advantage")
    whiten: bool = setting(FLAG, "advantages get mean 0, deviation 1")
    beta: float = setting(COEFFICIENT, "coefficient β of the KL in the reward (Equation 1), at the start")
    kl: str = setting(one_of("k1", "k3", "full"), "estimator of the KL a token")
    kl_anchor: str = setting(one_of("initial", "ema", "lm", "none"), "what the KL is taken against")
    reference_every: int | None = setting(COUNT, "updates between moves of the KL's reference; none: never")
    reference_rate: float | None = setting(SHARE, "how far it moves to the policy; none: all the way")
    target_kl: float | None = setting(POSITIVE, "KL a token that the controller steers β to; none: β stays")
    kl_rate: float = setting(COEFFICIENT, "the controller's rate")
    temperature: float = setting(POSITIVE, "of sampling and of the policy's distribution")
    top_k: int = setting(WHOLE, "sampling keeps the k likeliest words; 0: all")
    top_p: float = setting(Rule(float, 0, 1, above=True), "sampling keeps the likeliest words up to this mass")
    samples: int = setting(COUNT, "translations of a source in a batch; with 2 or more, each is the others' baseline")
    warm_up: int = setting(WHOLE, "updates of the listener alone before the speaker learns")
    listener_lr: float = setting(POSITIVE, "Adam's rate for the listener")
    estimator: str = setting(one_of("reinforce", "gumbel", "none"), "the speaker's gradient; none: it stays frozen")
    gumbel_temperature: float | None = setting(POSITIVE, "of the straight-through Gumbel-Softmax")
    entropy: float = setting(COEFFICIENT, "of the entropy bonus")
    baseline_decay: float = setting(SHARE, "of the running mean and variance of the reward")
    multitask: float | None = setting(COEFFICIENT, "weight of the pretraining's cross entropy in the game")
    multitask_batch: int | None = setting(COUNT, "pretraining pairs an update")
    sil_teacher: int | None = setting(COUNT, "updates of a teacher before a student takes over")
    sil_student: int | None = setting(COUNT, "steps in which a student imitates its teacher")
    sil_lr: float | None = setting(POSITIVE, "Adam's rate for the students")
    nlpo: str | None = setting(one_of("as_published", "as_shipped"), "NLPO's mask: synchronised, or never moving")
    mask_top_p: float | None = setting(SHARE, "mass that NLPO's mask keeps")
    mask_min_keep: int | None = setting(COUNT, "words that it keeps at least")
    mask_every: int | None = setting(COUNT, "updates from one synchronisation of the mask to the next")
    weights_of: str | None = setting(NAME, "method whose last weights a straight line leads to; none: the run learns")
    best_of: int | None = setting(COUNT, "samples a prompt in the end, the best one counts; none: the run learns")
    gold_labels: int | None = setting(
        COUNT, "texts that the reward model labels for a smaller one, which pays instead; none: it pays itself"
    )
    eval_every: int = setting(COUNT, "updates from evaluation to evaluation; a checkpoint is written at each")
    reset: ResetPlan | None = None

    def __init__(self, task: str, method: str, scale: str = "pocket", seed: int = 0, **given: Any):
        SEED.check("seed", seed)
        values = _defaults(task, method, scale) | facts(task).NET_AT_SCALE.get((scale, str(given.get("net"))), {})
        plan = {name: values.pop(name) for name in list(values) if name in PLAN_FIELDS}
        plan, values = _merge(task, method, plan, values, given)
        identity = {"task": task, "method": method, "scale": scale, "seed": seed}
        for f in fields(self):
            object.__setattr__(self, f.name, identity.get(f.name, values.get(f.name)))
        object.__setattr__(self, "reset", ResetPlan(**plan) if plan else None)
        if self.base is None:
            COUNT.check("bases", self.bases)
            object.__setattr__(self, "base", seed % self.bases)
        check_fields(self, needed=set(facts(task).SCALES[scale]) | {"beta", "base"})
        self._check_together()

    def _check_together(self) -> None:
        self._divides("minibatch", "batch")
        self._divides("samples", "batch")
        self._divides("rm_micro", "rm_batch")
        for part in ("", "lm_", "rm_"):
            self._divides(f"{part}heads", f"{part}width")
        longest = 1 + (self.prompt or 0) + self.length
        if longest > self.context:
            what = "<bos>, the prompt and the sample" if self.prompt else "<bos> and the sample"
            raise ValueError(f"context must hold {what}, {longest} tokens; got {self.context}")
        known = self.facts
        if self.corpus not in ("generated", *known.CORPORA):
            raise ValueError(f"corpus of {self.task} must be generated or {' or '.join(known.CORPORA)}")
        if self.reference_every is not None and self.kl_anchor != "initial":
            raise ValueError("a reference that moves (reference_every) begins as the initial model: kl_anchor=initial")
        if self.kl_anchor == "ema" and self.reset is not None and self.reset.part is not None:
            raise ValueError("of an average of a part of the weights (part) no KL can be taken: kl_anchor=initial")
        if self.reference_rate is not None and self.reference_every is None:
            raise ValueError("reference_rate is of a reference that moves; say how often: reference_every")
        if self.grad_reach is not None and self.grad_penalty is None:
            raise ValueError("grad_reach is of gradient regularisation; say how much of it: grad_penalty")
        if self.replay is not None and (self.reset is None or self.reads_average):
            raise ValueError("replay is of what was said before a reset; ask for a method that resets, elastic for one")
        if self.kl_anchor == "ema" and self.reset is None:
            averaging = [name for name, numbers in known.METHODS.items() if "mode" in numbers]
            raise ValueError(f"kl_anchor=ema needs a method that keeps a moving average: {', '.join(averaging)}")
        if self.weights_of is not None:
            learning = [name for name, numbers in known.METHODS.items() if "weights_of" not in numbers]
            check_known(f"weights_of {self.task}", self.weights_of, learning)
        known.check(self)

    def needs(self, what: str, names: Iterable[str]) -> None:
        """Refuses a recipe that lacks settings which go with others of it."""
        if lacking := [name for name in names if getattr(self, name) is None]:
            raise ValueError(f"{what} needs {', '.join(lacking)} too")

    def _divides(self, part: str, whole: str) -> None:
        a, b = getattr(self, part), getattr(self, whole)
        if a is not None and b is not None and b % a:
            raise ValueError(f"{whole} must be a multiple of {part}; got {b} and {a}")

    @property
    def facts(self) -> ModuleType:
        """What is known of its task."""
        return facts(self.task)

    @property
    def parts(self) -> tuple[str, ...]:
        """The pretrained models that this run needs."""
        return self.facts.parts(self)

    def numbers(self, kind: type) -> Any:
        """Its numbers as a dataclass of settings; what is not set here has the default of that one."""
        values = {f.name: getattr(self, f.name) for f in fields(kind)}
        return kind(**{name: value for name, value in values.items() if value is not None})

    def reset_numbers(self) -> dict[str, Any]:
        """What is set of its plan, if it has one, of the KL's anchor and reference, and the last update."""
        moving = {name: getattr(self, name) for name in ("reference_every", "reference_rate")}
        moving = {name: value for name, value in moving.items() if value is not None}
        return self.to_dict().get("reset", {}) | moving | {"anchor": self.kl_anchor, "updates": self.updates}

    def source(self) -> Recipe | None:
        """The run that a straight line leads to the end of: the same but for the method; None where the run learns."""
        if self.weights_of is None:
            return None
        same = {name: value for name, value in self.changes().items() if name != "weights_of"} | {"beta": self.beta}
        return Recipe(self.task, self.weights_of, self.scale, self.seed, **same)

    def begins_as(self) -> tuple[Recipe, int] | None:
        """The run of its task that averages and whose first updates are those of this one, and how many of them are.

        Before its first reset a run is what it would be with its average only watched, or with none at all.
        """
        leading = getattr(self.facts, "LEADS", None)  # a task may do without
        if leading is None or leading == self.method:
            return None
        if self.weights_of is not None or self.best_of is not None or self.sil_teacher is not None:
            return None
        usual = _usual(self.task, leading, self.scale, self.seed).reset
        own = self.reset or usual
        resets_at_fixed_steps = own.kl_budget is None and own.min_slope is None and own.ema_reset_every is None
        averages_as_usual = own.ema_power is None and own.part is None
        if not (resets_at_fixed_steps and averages_as_usual):
            return None
        plan = {name: getattr(own, name) for name in ("decay", "reset_every", "ema_every", "theta0")}
        try:
            other = Recipe.from_dict({**self.to_dict(), "method": leading, "reset": {"mode": usual.mode, **plan}})
        except ValueError:  # of a speaker that stays frozen there is nothing to average
            return None
        first_resets = [run.restarts()[0] for run in (self, other) if run.restarts()]
        alike = min(first_resets, default=self.updates + 1) - 1  # with the first update that a reset follows they part
        kept = [step for step in other.kept() if step <= alike]
        return (other, kept[-1]) if kept else None

    @property
    def reads_average(self) -> bool:
        """Whether what a run is for is its average, which is only watched."""
        return self.reset is not None and self.reset.mode == "track"

    def kept(self) -> list[int]:
        """After which updates a run keeps its state for others that begin alike: before a reset is due, at the end."""
        if self.method != getattr(self.facts, "LEADS", None) or self.reset.reset_every is None:
            return []
        before = (self.reset.reset_every - 1) // self.eval_every * self.eval_every
        ends = [] if self.restarts() else [self.updates]
        return [step for step in (before, *ends) if step > 0]

    def adapter_numbers(self) -> dict[str, Any]:
        """What adapters are made by; each seed has its own."""
        on, seed = self.lora_on.split("+"), 300 + self.seed
        return dict(rank=self.lora_rank, alpha=self.lora_alpha, on=on, seed=seed, last=self.lora_layers)

    def restarts(self) -> range:
        """After which updates the policy goes back, or a student takes its teacher's place; never after the last."""
        if self.sil_teacher is not None:
            return range(self.sil_teacher, self.updates, self.sil_teacher)
        return self.reset.steps(self.updates) if self.reset is not None else range(0)

    def moves_to_reset(self) -> int:
        """How often the average moves from reset to reset."""
        if self.reset is None or self.reset.reset_every is None:
            raise ValueError(f"{self.label()} never resets; ask for a method that does, elastic for instance")
        epochs = self.epochs or 1
        an_update = {"rollout": 1, "epoch": epochs, "step": epochs * self.batch // (self.minibatch or self.batch)}
        return self.reset.reset_every * an_update[self.reset.ema_every]

    def left_at_reset(self) -> float:
        """The share of θ0 in θ̄ when a reset is due."""
        moves = self.moves_to_reset()
        return self.reset.decay**moves

    @property
    def run_id(self) -> str:
        """{task}-{method}-s{seed}-{8 hex of everything that is set}."""
        return f"{self.task}-{self.method}-s{self.seed}-{_digest(self.to_dict())}"

    @property
    def base_key(self) -> str:
        """Names the pretrained models that this run starts from; runs that share it share them."""
        names = self.facts.BASE_SETTINGS
        return f"{self.task}-{self.scale}-b{self.base}-{_digest({n: getattr(self, n) for n in names})}"

    def to_dict(self) -> dict[str, Any]:
        """What is set, as plain JSON types; `Recipe.from_dict` takes it back."""
        flat = {name: value for name, value in asdict(self).items() if value is not None}
        if self.reset is not None:
            flat["reset"] = {name: value for name, value in flat["reset"].items() if value is not None}
        return flat

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Recipe:
        """The recipe that `to_dict` described."""
        if not isinstance(stored, dict) or not isinstance(stored.get("reset", {}), dict):
            raise ValueError(f"a recipe is what Recipe.to_dict gave, a JSON object; got {str(stored)[:60]}")
        given = {name: value for name, value in stored.items() if name != "reset"} | stored.get("reset", {})
        if lacking := [name for name in ("task", "method", "scale", "seed") if name not in given]:
            raise ValueError(f"a recipe says its task, method, scale and seed; this one has no {', '.join(lacking)}")
        unset = dict.fromkeys(_defaults(given["task"], given["method"], given["scale"]))
        return cls(**unset | given)

    def changes(self) -> dict[str, Any]:
        """The settings that differ from those of this task, method, scale, seed and net by default."""
        plain = {}
        if self.net is not None and self.net != self.facts.SCALES[self.scale]["net"]:
            plain = {"net": self.net}
        default = _usual(self.task, self.method, self.scale, self.seed, **plain)
        both = ((name, _get(self, name), _get(default, name)) for name in KNOWN_FIELDS)
        return plain | {name: value for name, value, usual in both if value != usual}

    def setting(self) -> tuple[str, dict[str, Any]]:
        """The method and what was changed, as grids and claims say it: whichever models it was that this began from."""
        return self.method, {name: value for name, value in self.changes().items() if name != "base"}

    def label(self) -> str:
        """The method and what was changed, for a person: 'elastic β=0.001'."""
        symbols = {"beta": "β", "decay": "η"}
        changed = (
            f"{symbols.get(n, n)}={v:g}" if isinstance(v, float) else f"{n}={_text(v)}"
            for n, v in self.changes().items()
        )
        return " ".join([self.method, *changed])

    def command(self, results: str, part: str | None = None) -> list[str]:
        """The command that makes this record, or one of the models that it starts from."""
        changed = self.changes()
        if part is None:
            argv = ["elastic", "run", self.task, self.method, "--scale", self.scale, "--seed", str(self.seed)]
        else:
            argv = ["elastic", "pretrain", self.task, part, "--scale", self.scale, "--base", str(self.base)]
            changed = {n: v for n, v in changed.items() if n in self.facts.BASE_SETTINGS and n != "base"}
        argv += ["--results", str(results)]
        return argv + [word for name, value in changed.items() for word in ("--set", f"{name}={_text(value)}")]


def parse_setting(text: str) -> tuple[str, Any]:
    """A `key=value` of the command line."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes key=value; got {text!r}")
    if key not in KNOWN_FIELDS:
        raise ValueError(unknown("key", key, KNOWN_FIELDS))
    return key, KNOWN_FIELDS[key].metadata["rule"].parse(key, value)


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """What several `key=value` of the command line set, each key once."""
    pairs = [*map(parse_setting, texts)]
    if twice := sorted({key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1}):
        raise ValueError(f"{', '.join(twice)} is set twice")
    return dict(pairs)


@functools.cache
def _usual(task: str, method: str, scale: str, seed: int, **plain: str) -> Recipe:
    """The recipe that says no more than this."""
    return Recipe(task, method, scale, seed, **plain)


def _merge(task: str, method: str, plan: dict, values: dict, given: dict) -> tuple[dict, dict]:
    """Puts what the caller gave over the defaults, each key where it belongs."""
    reset = given.pop("reset", None)
    if isinstance(reset, ResetPlan):
        plan = {f.name: getattr(reset, f.name) for f in fields(reset)}
    elif reset is not None:
        raise ValueError(f"reset must be a ResetPlan, or give its settings by name (decay=…); got {reset!r}")
    for name, value in given.items():
        if name not in KNOWN_FIELDS:
            raise ValueError(unknown("key", name, KNOWN_FIELDS))
        if name not in PLAN_FIELDS and name not in _fields_of(task) and value is not None:
            raise ValueError(f"{name} is no setting of {task}")
        if name in PLAN_FIELDS and not plan:
            raise ValueError(f"{name} belongs to a reset, and method {method!r} has none")
        target = plan if name in PLAN_FIELDS else values
        target[name] = value
    return plan, values


def _defaults(task: str, method: str, scale: str) -> dict[str, Any]:
    check_known("task", task, TASKS)
    check_known("scale", scale, SCALES)
    known = facts(task)
    check_known(f"method of {task}", method, known.METHODS)
    usual = known.METHODS[method]
    averaging = known.RESETS_AT_SCALE.get(scale, {}) if "mode" in usual else {}
    return {**known.SCALES[scale], **usual, **averaging, **known.METHOD_AT_SCALE.get((scale, method), {})}


@functools.cache
def _fields_of(task: str) -> set[str]:
    """The settings that a task has at some scale or in some method."""
    numbers = [*facts(task).SCALES.values(), *facts(task).METHODS.values()]
    return {"base"}.union(*numbers)


def _get(recipe: Recipe, name: str) -> Any:
    return getattr(recipe.reset if name in PLAN_FIELDS else recipe, name, None)


def _digest(stored: Any) -> str:
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:8]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


PLAN_FIELDS = {f.name: f for f in fields(ResetPlan)}
KNOWN_FIELDS = {f.name: f for f in fields(Recipe) if "rule" in f.metadata} | PLAN_FIELDS
