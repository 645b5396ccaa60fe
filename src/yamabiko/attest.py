"""Whether what a store gives may be believed: signatures made before a write and looked at after a read.

Between ``core.signing``, which is pure, and the path: this module knows where keys are configured at all, and makes the
vector of a stored question again, with a memory of those it made lately. Without keys everything passes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from yamabiko.core.signing import SigningKeys, far_off, signed, signed_question, verify
from yamabiko.errors import EmbeddingError
from yamabiko.types import Candidate, Entry, Question, Reply, Vector

Embed: TypeAlias = Callable[[str], Awaitable[Vector | None]]
"""A text to its vector, within a deadline; None where the model can't see all of it. Raises ``EmbeddingError`` or
``TimeoutError``."""

VECTORS = 4096
"""Vectors of stored questions that are remembered, as float16: 3 MB of 384 components each."""
QUARANTINE_SECONDS = 3600.0
"""How long a pair of a question and an entry that failed is left out of account. Not for ever: an answer that somebody
with a key stores in its place is good."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is no answer, without a text of it. ``forged``: somebody without a key wrote it.

    Not ``forged``: it could not be looked at, and is no answer this time.
    """

    why: str
    forged: bool = True


class Attest:
    """Signs what is to be written, and says what may be believed of what was read.

    ``keys``: None where nothing is signed. ``embed`` makes a vector of a text; None where there is no embedder.
    """

    def __init__(self, keys: SigningKeys | None, embed: Embed | None) -> None:
        self._keys = keys
        self._embed = embed
        self._vectors: OrderedDict[bytes, NDArray[np.float16]] = OrderedDict()

    @property
    def on(self) -> bool:
        """Whether there are keys."""
        return self._keys is not None

    # Before a write.

    def entry(self, entry: Entry) -> Entry:
        """The entry as it is to be put: signed, with all its questions at hand. The last step before ``Store.put``.

        Only for what this process has made. To sign what was read would bless what somebody else wrote: see
        ``confirmed``.
        """
        return entry if self._keys is None else signed(entry, self._keys)

    def alias(self, entry: Entry, question: Question) -> Question:
        """A further question of this entry, as ``Store.alias`` is to be given it.

        The entry must be one that ``refusal`` let pass, or one of this process's own.
        """
        return question if self._keys is None else signed_question(entry.scope, entry.id, question, self._keys)

    def confirmed(self, whole: Entry, fresh: Reply | None = None) -> Entry | None:
        """An entry of ``Store.entries`` as one that others may have, too; None where it is not as it was signed.

        ``fresh``: the answer that was the same, whose sources it now has.
        """
        if self.refusal(whole):
            return None
        reply = whole.reply if fresh is None else replace(whole.reply, sources=fresh.sources)
        return self.entry(replace(whole, confirmed=True, reply=reply))

    def unconfirmed(self, whole: Entry) -> Entry | None:
        """An entry of ``Store.entries`` as one that nobody may have for now; None where it is not as it was signed."""
        return None if self.refusal(whole) else self.entry(replace(whole, confirmed=False, author=""))

    def remember(self, text: str, vector: Vector) -> None:
        """That the embedder has just made this vector of this text, and need not again. Never one that was read."""
        if self._keys is not None:
            self._vectors[_name(text)] = vector.astype(np.float16)
            self._vectors.move_to_end(_name(text))
            if len(self._vectors) > VECTORS:
                self._vectors.popitem(last=False)

    # After a read.

    def refusal(self, entry: Entry) -> Refusal | None:
        """Why an entry of ``Store.get`` or ``Store.search`` is no answer; None where it may be one. Some 16 µs."""
        if self._keys is None:
            return None
        why = verify(entry, self._keys)
        return Refusal(why) if why else None

    def believed(
        self, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Candidate], Sequence[tuple[Candidate, Refusal]]]:
        """Those of the candidates that may be answers, in their order, and the others with why not."""
        if self._keys is None:
            return candidates, ()
        judged = [(candidate, self.refusal(candidate.entry)) for candidate in candidates]
        good = [candidate for candidate, refusal in judged if refusal is None]
        return good, [(candidate, refusal) for candidate, refusal in judged if refusal is not None]

    async def misplaced(self, candidate: Candidate, asked: Vector) -> Refusal | None:
        """Why a candidate that is about to be served does not resemble what was asked as its store says; None: it does.

        ``asked`` is the vector of the request. The stored question is embedded again, unless that was done lately.
        """
        if self._keys is None:
            return None
        try:
            vector = await self._vector(candidate.question.text)
        except (EmbeddingError, TimeoutError):
            return Refusal("the stored question could not be embedded again, to compare", forged=False)
        if vector is None:
            return Refusal("the embedding model does not see all of the stored question")
        why = far_off(candidate.similarity, float(vector @ asked))
        return Refusal(why) if why else None

    async def _vector(self, text: str) -> Vector | None:
        name = _name(text)
        known = self._vectors.get(name)
        if known is not None:
            self._vectors.move_to_end(name)
            return known.astype(np.float32)
        vector = None if self._embed is None else await self._embed(text)
        if vector is not None:
            self.remember(text, vector)
        return vector


def _name(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
