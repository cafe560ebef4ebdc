"""What a setting may be, and the errors that say so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What a setting may be; `kind` is int, float, bool or str."""

    kind: type
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    above: bool = False  # `low` itself is not allowed

    def words(self) -> str:
        """The rule, for an error message."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        what = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[self.kind]
        if self.low is not None and self.high is not None:
            return f"{what} from {_plain(self.low)} to {_plain(self.high)}"
        if self.low is not None:
            return f"{what} above {self.low:g}" if self.above else f"{what}, {self.low:g} or more"
        return what

    def check(self, name: str, value: Any) -> Any:
        """`value` in its own type, or an error that says what is allowed."""
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**300:
            value = float(value)
        fits = isinstance(value, self.kind) and not (self.kind is int and isinstance(value, bool))
        if fits and self.kind in (int, float):
            fits = value == value and abs(value) != float("inf")
            fits = fits and (self.low is None or (value > self.low if self.above else value >= self.low))
            fits = fits and (self.high is None or value <= self.high)
        if not fits or (self.choices and value not in self.choices):
            raise ValueError(f"{name} must be {self.words()}; got {value!r}")
        return value

    def parse(self, name: str, text: str) -> Any:
        """A value typed after `--set name=`."""
        lowered = text.strip().lower()
        if lowered in ("none", "null") and lowered not in self.choices:
            return None
        try:
            if self.kind is bool:
                return self.check(name, {"true": True, "1": True, "false": False, "0": False}[lowered])
            return self.check(name, self.kind(text.strip()))
        except (KeyError, ValueError):
            raise ValueError(f"{name} must be {self.words()}; got {text!r}") from None


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def setting(rule: Rule, doc: str, default: Any = None) -> Any:
    """A field of a recipe: what it may be, and what it means."""
    return field(default=default, metadata={"rule": rule, "doc": doc})


SEED = Rule(int, 0, 999_999_999)
WHOLE, COUNT, POSITIVE, COEFFICIENT = Rule(int, 0), Rule(int, 1), Rule(float, 0, above=True), Rule(float, 0)
SHARE, FLAG, NAME = Rule(float, 0, 1), Rule(bool), Rule(str)


def one_of(*choices: str) -> Rule:
    return Rule(str, choices=choices)


def unknown(what: str, given: Any, known: Iterable[str]) -> str:
    """An error message that names the near misses, or everything where there are none."""
    known = list(known)
    near = difflib.get_close_matches(str(given), known, n=3, cutoff=0.5)
    return f"unknown {what} {given!r}; " + (
        f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    )


def check_known(what: str, given: Any, known: Iterable[str]) -> None:
    """Refuses a name that is not among those that are known."""
    known = list(known)
    if given not in known:
        raise ValueError(unknown(what, given, known))


def check_fields(settings: Any, needed: set[str] | None = None) -> None:
    """Checks every field of a frozen dataclass against its rule; None passes where a field may be empty."""
    for f in fields(settings):
        rule, value = f.metadata.get("rule"), getattr(settings, f.name)
        if rule is None:
            continue
        if value is None:
            required = f.name in needed if needed is not None else f.default is not None
            if required and "None" not in str(f.type):
                raise ValueError(f"{f.name} must be {rule.words()}; got None")
            continue
        object.__setattr__(settings, f.name, rule.check(f.name, value))
