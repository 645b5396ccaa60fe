"""What users say of an answer: ids of hits that nobody can make up, and what follows from a "no", at once and for ever.

Feedback comes unasked, so it proves nothing about the error rate: it takes answers away and is kept for scores, and
never counts for a certificate.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from math import inf

from yamabiko.errors import InvalidRequest
from yamabiko.ports import SharedState, Store

LOG = "feedback"
SECRET = "secret:hits"  # noqa: S105 - under which name it is kept
SECRET_BYTES = 32
KEPT_SECONDS = 90 * 86400.0
"""How long a word of feedback is kept."""

_PURPOSE = b"yamabiko.hit.1"
_ID_BYTES = 16
_DIGEST_BYTES = 32
_TAG_BYTES = 16
_TOKEN_LENGTH = (_ID_BYTES + 2 * _DIGEST_BYTES + _TAG_BYTES) * 4 // 3
"""A multiple of four characters for a multiple of three bytes: no bit of a token is left over to be changed."""

_TRIMMED_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRef:
    """Which answer to which question: the look-up (16 bytes), the entry's id (64 hexadecimal digits) and the question.

    ``digest``: of the question that was asked (32 bytes); it is the entry's own where ``digest.hex() == entry_id``.
    """

    look_up_id: bytes
    entry_id: str
    digest: bytes


class HitIds:
    """Makes and reads the ids of hits, under a secret of 32 bytes that all processes of one cache have.

    A token holds digests and no text. Whoever has not been given one can't make one, and so can't take away answers.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise InvalidRequest(f"the secret of hit ids must be {SECRET_BYTES} bytes, not {len(secret)}")
        self._tags = hmac.new(secret, _PURPOSE, "sha256")  # to begin with a copy takes half the time

    def make(self, look_up_id: bytes, entry_id: str, digest: bytes) -> str:
        """The token, 128 URL-safe characters. Raises ``InvalidRequest`` for parts of another length."""
        body = look_up_id + bytes.fromhex(entry_id) + digest
        if len(look_up_id) != _ID_BYTES or len(digest) != _DIGEST_BYTES or len(entry_id) != 2 * _DIGEST_BYTES:
            raise InvalidRequest("a hit id needs a look-up id of 16 bytes, an entry id and a digest of 32 each")
        return base64.urlsafe_b64encode(body + self._tag(body)).decode()

    def parse(self, token: str) -> HitRef:
        """What a token refers to. Raises ``InvalidRequest`` for one that this cache has not made."""
        text = str(token)
        if len(text) != _TOKEN_LENGTH or re.fullmatch("[A-Za-z0-9_-]+", text) is None:
            raise InvalidRequest("this is no id of a hit: take Hit.id as it came")
        data = base64.urlsafe_b64decode(text)
        body, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(body)):
            raise InvalidRequest("this id of a hit was made by another cache, or changed on its way")
        look_up, entry, digest = body[:_ID_BYTES], body[_ID_BYTES:-_DIGEST_BYTES], body[-_DIGEST_BYTES:]
        return HitRef(look_up_id=look_up, entry_id=entry.hex(), digest=digest)

    def _tag(self, body: bytes) -> bytes:
        tag = self._tags.copy()
        tag.update(body)
        return tag.digest()[:_TAG_BYTES]


async def load_secret(shared: SharedState | None) -> bytes:
    """The secret of this cache's hit ids, made at the first time; the process's own where nothing is shared.

    Raises ``StoreUnavailable``.
    """
    if shared is None:
        return secrets.token_bytes(SECRET_BYTES)
    while True:
        stored = await shared.load_state(SECRET)
        if stored is not None and len(stored.data) == SECRET_BYTES:
            return stored.data
        await shared.save_state(
            SECRET, secrets.token_bytes(SECRET_BYTES), expected=None if stored is None else stored.version
        )  # read again: of all who make one at the same time, one's is kept


async def apply_feedback(ref: HitRef, ok: bool, store: Store, shared: SharedState | None, now: float) -> None:
    """Act on what a user said of a hit; when this returns, it holds for all workers.

    ``ok=False``: this entry never answers this question again. Where the question is the one that the answer was made
    for, or the store can't note such pairs, the entry goes. ``ok=True`` is only noted. Saying it twice is saying it
    once. Raises ``StoreUnavailable``.
    """
    if not ok:
        if shared is None or ref.digest.hex() == ref.entry_id:
            await store.delete(ref.entry_id)
        else:
            await shared.quarantine(ref.entry_id, ref.digest, until=inf, now=now)
    if shared is not None:
        said = {"ok": ok, "entry": ref.entry_id, "digest": ref.digest.hex(), "at": now}
        await shared.append_log(LOG, {f"{ref.look_up_id.hex()}:{'ok' if ok else 'no'}": json.dumps(said).encode()})
        await _trim(shared, now)


async def _trim(shared: SharedState, now: float) -> None:
    oldest = await shared.read_log(LOG, after=0, limit=_TRIMMED_AT_ONCE)
    over = 0
    for item in oldest:
        if now - json.loads(item.data)["at"] < KEPT_SECONDS:
            break
        over = item.position
    if over:
        await shared.trim_log(LOG, up_to=over)
