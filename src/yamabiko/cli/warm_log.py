"""The questions behind an access log. The log has digests alone; the texts are where they were all along, in the store.

Each line names the key of its request and, of a hit, the entry that answered it: the first 16 digits of each. What is
stored under one of them gives the question. What is not stored has no text anywhere, and is only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from yamabiko.cli.warm_file import Ask, Row
from yamabiko.core.key import place_of
from yamabiko.errors import InvalidRequest
from yamabiko.ports import Store
from yamabiko.types import Entry, Policy, Selector

DIGITS = 16
"""So many digits of a key stand in a line."""
_decode = msgspec.json.Decoder().decode


@dataclass(slots=True, kw_only=True)
class Found:
    """Requests that a log tells of, by what came of them here; ``unread``: lines that tell of none.

    ``unknown``: nothing is stored under their keys. ``personal``: the answer was one person's. ``otherwise``: they were
    asked with another system prompt, sampling or earlier turns than the command has.
    """

    requests: int = 0
    unread: int = 0
    unknown: int = 0
    personal: int = 0
    otherwise: int = 0


def count(text: str, asked: Counter[str], found: Found) -> None:
    """Add the lines of an access log; what stands before a line's first brace, such as a time, is passed over."""
    for line in text.splitlines():
        told = _told(line)
        key = told.get("entry") or told.get("key") if "tier" in told and told.get("status") == 200 else None
        if isinstance(key, str) and len(key) == DIGITS:
            asked[key] += 1
            found.requests += 1
        elif line.strip():
            found.unread += 1


def _told(line: str) -> Mapping[str, Any]:
    start = line.find("{")
    if start < 0:
        return {}
    try:
        told = _decode(line[start:].encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


class Joining:
    """Makes rows of the entries of a store that a log speaks of.

    ``ask`` asks today, ``was`` as the log's requests were asked: a question that comes out with another key there than
    its own was asked in another way, such as within a conversation, and is no question by itself. ``said``: the parts
    that options give. ``model_for``: of the embedder in use, whose vectors are taken from the store.
    """

    def __init__(
        self, ask: Ask, was: Ask, *, said: Mapping[str, str], policy: Policy, model_for: Callable[[str], str]
    ) -> None:
        self._ask = ask
        self._was = was
        self._said = said
        self._policy = policy
        self._model_for = model_for

    async def rows(self, store: Store, asked: Counter[str], found: Found, tags: tuple[str, ...]) -> list[Row]:
        """One row for each entry, the most asked one first. Raises ``StoreError``."""
        rows = []
        left = Counter(asked)
        async for entry in store.entries(Selector(tenant=self._said.get("tenant"))):
            names = {question.digest.hex()[:DIGITS] for question in entry.questions} | {entry.id[:DIGITS]}
            times = sum(left.pop(name, 0) for name in names)
            if not times:
                continue
            if entry.scope.user:
                found.personal += times
                continue
            row = self._row(entry, times, tags)
            if row is None:
                found.otherwise += times
            else:
                rows.append(row)
        found.unknown = left.total()
        return sorted(rows, key=lambda row: -row.requests)

    def _row(self, entry: Entry, times: int, tags: tuple[str, ...]) -> Row | None:
        question = entry.questions[0]
        said = {"tenant": entry.scope.tenant, **self._said}
        try:
            before, _ = self._was(question.text, said, ())
            request, asked = self._ask(question.text, said, (*tags, *entry.tags))
        except InvalidRequest:
            return None
        place = place_of(before, model_for=self._model_for, policy=self._policy)
        if place.key is None or place.key.digest != question.digest:
            return None
        row = Row(request=request, asked=asked, requests=times)
        ours = entry.scope.embedder == self._model_for(place.canonical.text) if place.canonical.text else False
        return replace(row, vector=question.vector) if ours and question.vector is not None else row
