"""The paper's Figures 1 and 2 as diagrams: SVG made here, in the colours of the page that they stand on.

Lines and words are drawn in `currentColor`, so that a page in the dark has them light; a file of its own (for the
README) brings its own light and dark.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from elastic_lib.figures.style import COLORS

THETA, AVERAGE, START, CRITIC = COLORS["elastic"][0], COLORS["to_ema"][0], "#808080", COLORS["ppo"][0]
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
ON_ITS_OWN = (
    ".diagram { color: #1d1f23; background: #ffffff } "
    "@media (prefers-color-scheme: dark) { .diagram { color: #e8e6e1; background: #15181c } }"
)


def text(x: float, y: float, words: str, size: float = 13, anchor: str = "start", extra: str = "") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="currentColor" {extra}>'
        f"{escape(words)}</text>"
    )


def path(points: list[tuple[float, float]], color: str, extra: str = "") -> str:
    drawn = " ".join(f"{'L' if i else 'M'}{x:.1f},{y:.1f}" for i, (x, y) in enumerate(points))
    return f'<path d="{drawn}" fill="none" stroke="{color}" stroke-width="2" {extra}/>'


def arrow(points: list[tuple[float, float]], color: str = "currentColor", width: float = 1.5) -> str:
    """A line that ends in a head; it goes down, up, or to the left."""
    (x0, y0), (x1, y1) = points[-2:]
    dx, dy = ((x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0))
    base = (x1 - 8 * dx, y1 - 8 * dy)
    head = [(x1, y1), (base[0] + 4 * dy, base[1] + 4 * dx), (base[0] - 4 * dy, base[1] - 4 * dx)]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in head)
    line = path([*points[:-1], base], color).replace('stroke-width="2"', f'stroke-width="{width:g}"')
    return f'{line}<polygon points="{corners}" fill="{color}"/>'


def svg(width: float, height: float, label: str, parts: list[str]) -> str:
    return (
        f'<svg class="diagram" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" style="max-width:100%;height:auto" font-family="{FONT}" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>{"".join(parts)}</svg>'
    )


# ---- Figure 1


def method() -> str:
    """Figure 1: how far policy and average are from θ0 as training goes on, and where the two resets take them."""
    left, right, floor, high, steps, every, decay = 34, 436, 252, 188, 300, 100, 0.985
    theta = average = 0.0
    legs: list[list[tuple[float, float, float]]] = [[(0, 0.0, 0.0)]]
    for step in range(1, steps + 1):
        theta += 0.012 * (1 - theta)  # a climb that slows down, the same after each reset
        average = decay * average + (1 - decay) * theta
        legs[-1].append((step, theta, average))
        if step % every == 0 and step < steps:
            theta, average = average, 0.0
            legs.append([(step, theta, average)])

    def at(step: float, value: float) -> tuple[float, float]:
        return left + (right - left) * step / steps, floor - high * value / 0.8

    middle = (left + right) / 2
    box = f'<rect x="{left}" y="6" width="{right - left}" height="24" rx="5" fill="none" stroke="{CRITIC}"'
    parts = [f'{box} stroke-width="1.5"/>']
    parts += [text(middle, 23, "value function: learns on through every reset", 12, "middle")]
    parts += [path([at(0, 0), at(steps, 0)], START, 'stroke-dasharray="6 4"')]
    for leg in legs:
        parts += [path([at(step, value) for step, value, _ in leg], THETA)]
        parts += [path([at(step, value) for step, _, value in leg], AVERAGE)]
    for step, top, follower in (leg[-1] for leg in legs[:-1]):
        (x, before), (_, after), (_, ground) = at(step, top), at(step, follower), at(step, 0)
        parts += [arrow([(x, before), (x, after)], THETA, 3), arrow([(x, after), (x, ground)], AVERAGE, 3)]
        parts += [text(x, before - 8, "reset", 12, "middle")]
    parts += [text(x - 8, after - 12, "1. θ ← θ̄", 13, "end"), text(x - 8, floor - 14, "2. θ̄ ← θ0", 13, "end")]
    parts += [text(*at(3, 0.55), "θ, optimised", 13), text(*at(46, 0.06), "θ̄, follows", 13)]
    parts += [text(left, floor + 18, "θ0, the pretrained model", 13), text(right, floor + 18, "training →", 12, "end")]
    parts += [text(0, 0, "distance from θ0 →", 12, "start", f'transform="translate({left - 14} {floor}) rotate(-90)"')]
    label = (
        "Figure 1. Elastic Reset: the policy θ is optimised for reward and its average θ̄ follows slowly; at a reset θ "
        "goes to θ̄, and θ̄ to the pretrained θ0; the value function learns on."
    )
    return svg(450, 280, label, parts)


# ---- Figure 2


class Stage(NamedTuple):
    """What a pipeline holds: a `said` text, a model that `learns` and is reset, one that is `beside` it, a `reward`."""

    kind: str
    words: str
    more: str = ""


PIPELINES = {
    "Translation Game": [
        Stage("said", "a French sentence"),
        Stage("learns", "speaker, FR→EN", "pretrained; REINFORCE"),
        Stage("said", "English, that nobody checks", "drift: BLEU of FR→EN"),
        Stage("beside", "listener, EN→DE", "learns from the true German"),
        Stage("reward", "reward", "likelihood of the true German"),
    ],
    "IMDB mock sentiment": [
        Stage("said", "how a film review begins"),
        Stage("learns", "language model", "pretrained on reviews; PPO"),
        Stage("said", "how it goes on", "drift: perplexity of true reviews"),
        Stage("beside", "sentiment classifier", "trained before, frozen"),
        Stage("reward", "reward", "P(positive)"),
    ],
    "StackLLaMA": [
        Stage("said", "a technical question"),
        Stage("learns", "language model", "finetuned; PPO on LoRA"),
        Stage("said", "an answer", "drift: perplexity, an exam"),
        Stage("beside", "reward model", "trained before, on pairs by votes"),
        Stage("reward", "reward", "what people would vote for"),
    ],
}
WIDE, STEP, BOX = 280, 74, 46


def pipeline(name: str) -> str:
    """One of the three of Figure 2, from top to bottom; the reward goes back to what learns."""
    middle, half = WIDE / 2 - 12, 112
    parts = [text(middle, 18, name, 15, "middle", 'font-weight="600"')]
    stages = PIPELINES[name]
    for i, stage in enumerate(stages):
        top = 36 + STEP * i
        if i:
            parts.append(arrow([(middle, top - STEP + BOX + 2), (middle, top - 2)]))
        strokes = {"learns": (THETA, 2.5), "beside": ("currentColor", 1.3), "reward": (CRITIC, 2.5)}
        if stage.kind in strokes:
            color, width = strokes[stage.kind]
            corner = BOX / 2 if stage.kind == "reward" else 6
            parts.append(
                f'<rect x="{middle - half:g}" y="{top}" width="{2 * half}" height="{BOX}" rx="{corner:g}" fill="none" '
                f'stroke="{color}" stroke-width="{width:g}"/>'
            )
        slant = 'font-style="italic"' if stage.kind == "said" else 'font-weight="600"'
        words = f"θ: {stage.words}" if stage.kind == "learns" else stage.words
        parts.append(text(middle, top + (20 if stage.more else 28), words, 13, "middle", slant))
        if stage.more:
            parts.append(text(middle, top + 37, stage.more, 12, "middle"))
    learns, reward = (36 + STEP * i + BOX / 2 for i, s in enumerate(stages) if s.kind in ("learns", "reward"))
    edge, side = middle + half, WIDE - 8
    parts.append(arrow([(edge, reward), (side, reward), (side, learns), (edge + 2, learns)], CRITIC, 2))
    said = "; ".join(f"{s.words} ({s.more})" if s.more else s.words for s in stages)
    return svg(WIDE, 36 + STEP * (len(stages) - 1) + BOX + 12, f"Figure 2. {name}: {said}; back to what learns.", parts)


def pipelines() -> list[str]:
    """The three of Figure 2, each by itself, so that a page can set them side by side or one below the other."""
    return [pipeline(name) for name in PIPELINES]


# ---- files of their own


def files() -> dict[str, str]:
    """Both figures by the name of their file, light or dark as the reader's screen is."""
    drawn = pipelines()
    high = 36 + STEP * 4 + BOX + 12
    moved = [f'<g transform="translate({i * (WIDE + 20)} 0)">{_inside(one)}</g>' for i, one in enumerate(drawn)]
    label = "Figure 2. The three experiments: Translation Game, IMDB mock sentiment, StackLLaMA."
    side_by_side = svg(3 * WIDE + 40, high, label, moved)
    return {f"{name}.svg": _own(one) for name, one in (("method", method()), ("pipelines", side_by_side))}


def _inside(drawn: str) -> str:
    return drawn[drawn.index("</title>") + 8 : drawn.rindex("</svg>")]


def _own(drawn: str) -> str:
    return drawn.replace("<title>", f"<style>{ON_ITS_OWN}</style><title>", 1) + "\n"


def html(*drawn: str) -> str:
    """Diagrams for a page: side by side where there is room."""
    return f'<div class="diagrams" style="display:flex;flex-wrap:wrap;gap:1rem 2rem">{"".join(drawn)}</div>'
