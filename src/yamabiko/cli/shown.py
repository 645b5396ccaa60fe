"""Outcomes and entries as JSON documents and as lines for people."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from yamabiko.types import Entry, Hit, Miss

WIDTH = 100
"""Columns of running text."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def outcome_document(outcome: Hit | Miss) -> dict[str, Any]:
    """An outcome and its reasons, without the answer."""
    document: dict[str, Any] = {
        "outcome": "hit" if isinstance(outcome, Hit) else "miss",
        "similarity": outcome.similarity,
        "reasons": list(outcome.reasons),
        "key": outcome.key.hex if outcome.key is not None else None,
    }
    if isinstance(outcome, Hit):
        return document | {
            "tier": outcome.tier,
            "question": outcome.question,
            "age_seconds": outcome.age_seconds,
            "stale": outcome.stale,
            "entry": outcome.entry.id,
        }
    nearest = [
        {"question": near.question.text, "similarity": near.similarity, "entry": near.entry.id}
        for near in outcome.nearest
    ]
    return document | {"reason": outcome.reason.value, "nearest": nearest}


def outcome_lines(outcome: Hit | Miss) -> list[str]:
    """An outcome and its reasons, as ``ask`` and ``get`` tell it."""
    if isinstance(outcome, Hit):
        first = f"{outcome.tier} hit, similarity {outcome.similarity:.4f}, {duration(outcome.age_seconds)} old"
    else:
        first = f"miss: {outcome.reason.value}"
    lines = [first, *(f"  {reason}" for reason in outcome.reasons)]
    if isinstance(outcome, Miss):
        lines += [f"  near: {near.similarity:.4f}  {near.question.text}" for near in outcome.nearest]
    return lines


def entry_document(entry: Entry) -> dict[str, Any]:
    """An entry without its vectors; times are seconds UTC epoch, null for never."""
    reply = entry.reply
    return {
        "id": entry.id,
        "questions": [question.text for question in entry.questions],
        "answer": reply.text,
        "tenant": entry.scope.tenant,
        "user": entry.scope.user,
        "model": entry.scope.model,
        "embedder": entry.scope.embedder,
        "created": entry.created,
        "expires": entry.expires,
        "stale_until": entry.stale_until,
        "tags": list(entry.tags),
        "sources": [asdict(source) for source in reply.sources],
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "latency_seconds": reply.latency_seconds,
        "cost_usd": reply.cost_usd,
    }


def entry_lines(entry: Entry, now: float) -> list[str]:
    """An entry for people; what is empty is left out."""
    document = entry_document(entry)
    made = (
        f"{document['input_tokens']} + {document['output_tokens']} tokens, {document['latency_seconds']:.2f} s,"
        f" ${document['cost_usd']:.6f}"
    )
    rows: list[tuple[str, str]] = [
        ("entry", entry.id),
        *(("question", question.text) for question in entry.questions),
        ("answer", entry.reply.text),
        *((name, document[name]) for name in ("tenant", "user", "model", "embedder")),
        ("created", moment(entry.created, now)),
        ("expires", moment(entry.expires, now)),
        ("stale until", moment(entry.stale_until, now) if entry.stale_until != entry.expires else ""),
        ("tags", ", ".join(entry.tags)),
        ("sources", ", ".join(source.uri for source in entry.reply.sources)),
        ("made with", made),
    ]
    return [f"{name:<12} {text}" for name, text in rows if text]


def moment(when: float, now: float) -> str:
    """A time for people, in UTC, with its distance from now."""
    if math.isinf(when):
        return "never"
    clock = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
    return f"{clock} ({duration(now - when)} ago)" if when <= now else f"{clock} (in {duration(when - now)})"


def duration(seconds: float) -> str:
    """``3 h``, ``25 s``: one figure and its unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def entries(count: int) -> str:
    """``1 entry``, ``2 entries``."""
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values in two columns."""
    pairs = [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in rows]
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in pairs)


def wrapped(text: str) -> str:
    """A text in lines that fit a terminal."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def wrapped_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Names and longer texts in two columns, the texts broken into lines."""
    pairs = list(rows)
    indent = max(len(name) for name, _ in pairs) + 2
    return "\n".join(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=name.ljust(indent),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in pairs
    )
