"""Labels from outside: each labelled pair counts once, whichever files hold it and however often they are imported."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from yamabiko.cli.judging import Judged
from yamabiko.cli.standing import Opened
from yamabiko.core.score import MIN_SCORE
from yamabiko.errors import StoreUnavailable
from yamabiko.learn.namespaces import embedder_of
from yamabiko.learn.records import digest_of
from yamabiko.learn.versions import versions_of
from yamabiko.ports import Mix

_LEASE_SECONDS = 300.0
_ID_BYTES = 16
_PER_ITEM = 50_000
"""Ids in an item of the log: 0.8 MB, below what a store takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of the pairs for one namespace.

    ``hits``: those that would be hits, as no guard vetoes them and their score is high enough; the others say nothing
    of hits. ``new``: labels of these that were not imported before.
    """

    namespace: str
    pairs: int
    hits: int
    new: int


async def take_labels(cache: Opened, namespace: str, judged: Sequence[Judged], mix: Mix | None = None) -> Taken:
    """Import what is new of these pairs, and take the namespace on from there.

    ``mix``: how a verifier's word is in their scores; None: it is not.

    The ids of what was imported are kept, after the labels: who is interrupted in between imports the same labels
    again, which count once. Raises ``StoreUnavailable``, also where another import is under way.
    """
    shared, name = cache.shared, f"calibrate:{namespace}"
    claim = await shared.claim(name, secrets.token_hex(16), seconds=_LEASE_SECONDS, now=time.time())
    if claim is None:
        raise StoreUnavailable(f"another import into {namespace} is under way: try again when it is done")
    try:
        return await _take(cache, namespace, judged, mix)
    finally:
        await shared.release(claim, now=time.time())


async def _take(cache: Opened, namespace: str, judged: Sequence[Judged], mix: Mix | None) -> Taken:
    versions = digest_of(versions_of(embedder_of(namespace), cache.settings.policy, mix))
    log = f"imported:{versions}:{namespace}"
    known = await _known(cache, log)
    new = sorted((one for one in judged if _id(one) not in known), key=_id)
    labels = [(one.weighed.score, one.pair.correct) for one in new if _is_hit(one)]
    standings = await cache.standings(namespace, mix)
    if labels:
        requests = len(new) if cache.settings.policy.on == "request" else 0
        await standings.imported(namespace, labels, floor=MIN_SCORE, requests=requests)
    else:
        await standings.advance(namespace)
    for begin in range(0, len(new), _PER_ITEM):
        ids = b"".join(map(_id, new[begin : begin + _PER_ITEM]))
        await cache.shared.append_log(log, {hashlib.sha256(ids).hexdigest(): ids})
    return Taken(namespace=namespace, pairs=len(judged), hits=sum(map(_is_hit, judged)), new=len(labels))


async def _known(cache: Opened, log: str) -> set[bytes]:
    known: set[bytes] = set()
    position = 0
    while page := await cache.shared.read_log(log, after=position, limit=10):
        position = page[-1].position
        known.update(item.data[at : at + _ID_BYTES] for item in page for at in range(0, len(item.data), _ID_BYTES))
    return known


def _id(one: Judged) -> bytes:
    return bytes.fromhex(one.pair.id)[:_ID_BYTES]


def _is_hit(one: Judged) -> bool:
    return not one.weighed.vetoes and one.weighed.score >= MIN_SCORE
