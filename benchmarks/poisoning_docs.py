"""Puts what benchmarks/poisoning.py measured into the tables of docs/poisoning.md, whose words stay as they are."""

from __future__ import annotations

import re
from pathlib import Path

import machine

DOC = Path(__file__).parents[1] / "docs" / "poisoning.md"
BY_LANGUAGE = (
    "2 other question: swapped",
    "2 other question: near misses",
    "3 question + instruction",
    "3 the same in one sentence",
    "3 question + fresh instruction",
    "4 collision: suffix",
    "4 collision: disjoint",
    "4 collision: adaptive",
)


def percent(reached: int, tried: int) -> str:
    """One decimal, but for all and none."""
    share = 100 * reached / tried if tried else None
    return "–" if share is None else f"{share:.0f}" if share in (0, 100) else f"{share:.1f}"


def lines(head: list[str], rows: list[list[str]]) -> str:
    """A table, the numbers to the right."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def reached(arms: dict) -> str:
    """Every attack against every defence."""
    rows = []
    for attack, found in arms["none"]["attacks"].items():
        if attack.endswith((" (en)", " (ja)")):
            continue
        cells = []
        for arm in arms.values():
            at = arm["attacks"].get(attack)
            cells.append("–" if at is None else percent(at["reached"], at["tried"]))
        rows.append([attack, str(found["tried"]), *cells])
    return lines(["attack", "tried", *arms], rows)


def by_language(arms: dict) -> str:
    """What depends on the question, in each language."""
    head, rows = ["attack"], []
    columns = [(arm, lang) for arm in ("none", "guards+score", "all, shared") for lang in ("en", "ja")]
    head += [f"{arm} {lang}" for arm, lang in columns]
    for attack in BY_LANGUAGE:
        cells = []
        for arm, lang in columns:
            of = arms[arm]["attacks"]
            whole, english = of[attack], of.get(f"{attack} (en)", {"reached": 0, "tried": 0})
            at = english if lang == "en" else {name: whole[name] - english[name] for name in whole}
            cells.append(percent(at["reached"], at["tried"]))
        rows.append([attack, *cells])
    return lines(head, rows)


def costs(arms: dict) -> str:
    """What is lost of true paraphrases."""
    named = {
        "served, %": "served_first",
        "lost of what the cosine serves, %": "lost_first",
        "the same, once a second user has asked, %": "lost_later",
        "lost of what guards + score serve, %": "lost_of_decision",
    }
    return lines(
        ["", *arms], [[name, *(f"{100 * arm[key]:.1f}" for arm in arms.values())] for name, key in named.items()]
    )


def main() -> None:
    arms = machine.read("poisoning")["arms"]
    text = DOC.read_text(encoding="utf-8")
    tables = {
        "| attack | tried |": reached(arms),
        "| attack | none en |": by_language(arms),
        "|  | none |": costs(arms),
    }
    for head, table in tables.items():
        text, count = re.subn(re.escape(head) + r"[^\n]*\n(?:\|[^\n]*\n)+", lambda _, table=table: table + "\n", text)
        if count != 1:
            raise SystemExit(f"{DOC} has {count} tables that begin with {head}")
    DOC.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
