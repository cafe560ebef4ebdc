"""Which runs a figure was drawn from, and the commands that make them again; it rides along in `layout.meta`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from html import escape
from typing import Any

from elastic_lib.evidence import Evidence
from elastic_lib.figures.names import many

Shown = Iterable[tuple[Evidence, Iterable[str]]]  # labels of settings, and where they are from


def runs_behind(shown: Shown) -> list[dict[str, Any]]:
    """One entry a setting: its name, whose runs, their ids, the commits that made them, the command for all seeds."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for evidence, labels in shown:
        for label in labels:
            records = evidence.found[label]
            commits = Counter(str(record.env().get("commit", "unknown")) for record in records.values())
            found[evidence.task, label] = {
                "setting": f"{evidence.task} {label}",
                "whose": evidence.owner(label),
                "runs": [record.run_id for _, record in sorted(records.items())],
                "commits": dict(commits.most_common()),
                "command": command(evidence, label),
            }
    return list(found.values())


def command(evidence: Evidence, label: str) -> str:
    """What makes the runs of a setting again, in a shell."""
    seeds = sorted(evidence.found[label])
    words = evidence.recipes[label].command("DIR")
    results, seed = words.index("--results"), words.index("--seed") + 1
    before, after = shlex.join(words[:seed]), shlex.join(words[seed + 1 : results] + words[results + 2 :])
    if len(seeds) == 1:
        return f"{before} {seeds[0]} {after}".rstrip()
    return f"for seed in {' '.join(map(str, seeds))}; do {before} $seed {after}".rstrip() + "; done"


def in_html(words: str) -> str:
    """A caption or a name: a coefficient and its value stay on one line, and lines are lines."""
    return escape(words).replace("β = ", "β&nbsp;=&nbsp;").replace("\n", "<br>")


def details(runs: list[dict[str, Any]]) -> str:
    """The same folded into a line of HTML; a figure without runs says that it was computed as it is shown."""
    if not runs:
        return "<p><small>Drawn from no runs: computed where it is shown.</small></p>"
    count = sum(len(one["runs"]) for one in runs)
    commits: Counter = Counter()
    for one in runs:
        commits.update(one["commits"])
    made = ", ".join(f"<code>{escape(name)}</code> ({number})" for name, number in commits.most_common())
    owners = " and ".join(sorted({one["whose"] for one in runs}))
    rows = "".join(
        f"<li><b>{escape(one['setting'])}</b>, {escape(one['whose'])}<br><code>{escape(one['command'])}</code><br>"
        f"<small>{escape(' '.join(one['runs']))}</small></li>"
        for one in runs
    )
    return (
        f"<details class='provenance'><summary>Drawn from {many(count, 'run')} of "
        f"{many(len(runs), 'setting')}: {escape(owners)}</summary>"
        f"<p>Made by the commit{'s' * (len(commits) != 1)} {made}. What makes them again:</p><ul>{rows}</ul></details>"
    )
