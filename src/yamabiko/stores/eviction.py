"""What a byte budget counts, and which entry it gives up first: GDSF, the same in every store.

Greedy-Dual-Size-Frequency keeps what saves most per byte. Each entry has a priority, ``clock + hits * value / size``;
over budget, a store first removes what is dead, the longest dead first, and then the lowest priority, again and again,
never the entry that is being written. The clock rises to each priority removed from the living, so that an old
favourite that nobody asks for any more is overtaken by what comes in. ``hits`` starts at 1 when an entry is first
stored, a later put of the same id keeps it, and each ``touch`` adds 1; priority is computed anew, with the clock of
that moment, at a put, an alias or a touch. Of equals, the entry stored first goes first. An entry larger than the
whole budget is removed at once, alone.

Source: L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy",
HP Laboratories HPL-98-69R1 (1998), section 3; the cost is what a hit saves instead of 1.
"""

from __future__ import annotations

from yamabiko.types import Entry, Question, Reply

ENTRY_OVERHEAD_BYTES = 256
"""Counted per entry for its id, scope, times, author, signature, counters and index rows, whatever the store: a round
estimate."""
QUESTION_OVERHEAD_BYTES = 128
"""Counted per question for its digest, signature and index rows, whatever the store: a round estimate."""
VECTOR_COMPONENT_BYTES = 2
"""Vectors are kept as float16."""
SECOND_WAITED_USD = 0.001
"""What a second of waiting counts in dollars: for a few hundred tokens of a small hosted model, time and money then
weigh about the same. Only ratios between entries matter."""
LEAST_VALUE_USD = 1e-6
"""The value of an answer whose cost is unknown, so that among such answers use and size still decide."""


def text_bytes(text: str) -> int:
    """Length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def question_bytes(question: Question) -> int:
    """What one question adds to an entry: text, vector and a fixed overhead."""
    vector = 0 if question.vector is None else VECTOR_COMPONENT_BYTES * len(question.vector)
    return QUESTION_OVERHEAD_BYTES + text_bytes(question.text) + vector


def payload_bytes(entry: Entry) -> int:
    """What an entry counts against ``max_bytes``: the reply, tags, every question in ``entry.questions``, overheads.

    A chunk length counts 2 bytes. The scope is not counted: many entries share it.
    """
    return entry_bytes(entry) + sum(map(question_bytes, entry.questions))


def entry_bytes(entry: Entry) -> int:
    """What an entry counts without its questions."""
    reply = entry.reply
    texts = [reply.text, reply.model, reply.extra, *reply.tool_calls, *entry.tags]
    for source in reply.sources:
        texts += (source.uri, source.digest, source.version, source.base, *source.labels)
    return ENTRY_OVERHEAD_BYTES + sum(map(text_bytes, texts)) + 2 * len(reply.chunk_lengths)


def value(reply: Reply) -> float:
    """What a hit on this reply saves, in dollars, above 0: its cost and the seconds of waiting for it."""
    saved = reply.cost_usd + SECOND_WAITED_USD * reply.latency_seconds
    return saved if LEAST_VALUE_USD < saved < float("inf") else LEAST_VALUE_USD


def priority(clock: float, hits: int, value: float, size: int) -> float:
    """GDSF: the entry with the lowest goes first. ``value`` in dollars, ``size`` in bytes, both above 0."""
    return clock + hits * value / size
