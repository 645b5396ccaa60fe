"""Where everything of one cache stands on the server: key names, field names, the name of the index.

::

    NAME:q:{NAME}:<question digest>   hash, one for each question; what the index covers; has the answer's expiry
        a   the answer, with its life and scope       t   the question's text and its vector's norm
        e   id of the entry                           x   stale_until, NUMERIC
        g   what binds the question to the entry, where signatures are made
        s_<index>   scope digest, TAG                 v_<index>   vector, FLOAT32
    NAME:a:{NAME}:<entry id>          hash, the entry's anchor: which questions it has; small, without expiry
        k   their digests, 64 digits each, the oldest first   w   weight and vector flag, 9 characters each
        b   payload bytes without questions           d   scope content and digest    s   its side sets
        x   stale_until                               h   how often it was served
    NAME:all:{NAME}                   sorted set of entry ids by ``created``
    NAME:life:{NAME}                  sorted set of entry ids by the server's time of expiry
    NAME:s:{NAME}:<kind>:<digest>     sorted set of the entries of one tenant, user, model, tag, source or base
    NAME:scopes:{NAME}                hash: scope digest to number of entries
    NAME:counters:{NAME}              hash: questions, vectors, payload_bytes, hits
    NAME:meta:{NAME}                  hash: format, embedder, dim, and how far sweeping has come
    NAME:fence:{NAME}, NAME:barrier:{NAME}, NAME:purged:{NAME}, NAME:x:{NAME}:...    see ``shared``

All names share one hash tag and so one slot: a script may touch all of them, in cluster mode too. That puts a cache on
one shard, which is what MemoryDB's vector search asks for anyway; caches of other names lie on other slots.

Every question's hash holds the whole answer, so that a look-up reads one key. It counts only while its entry's anchor
names it: whichever of the keys a server evicts, what is left is a clean miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

FORMAT = 1
"""Version of the keys, fields and records."""
NOT_INDEXED = ("none", 1)
"""Embedder and dimension of a cache that answers the very same questions only."""


@dataclass(frozen=True)
class Layout:
    """The names of one cache (``name``: ``[a-z0-9][a-z0-9_-]{0,31}``) for one embedder and dimension."""

    name: str
    embedder: str
    dim: int

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits that stand for format, embedder and dimension."""
        named = f"{FORMAT}:{len(self.embedder)}:{self.embedder}:{self.dim}"
        return sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def index(self) -> str:
        """The name of the index."""
        return f"{self.name}:i:{self.identity}"

    @cached_property
    def prefix(self) -> str:
        """What the index covers: keys that begin so. Without braces, which valkey-search 1.0 refuses."""
        return f"{self.name}:q:"

    @cached_property
    def scope_field(self) -> str:
        """TAG: the scope's digest in hexadecimal digits."""
        return f"s_{self.identity}"

    @cached_property
    def vector_field(self) -> str:
        """VECTOR."""
        return f"v_{self.identity}"

    @property
    def indexed(self) -> bool:
        """Whether anything is found by meaning: not without an embedder."""
        return (self.embedder, self.dim) != NOT_INDEXED

    @property
    def life_field(self) -> str:
        """NUMERIC: stale_until."""
        return "x"

    def _key(self, kind: str) -> str:
        return f"{self.name}:{kind}:{{{self.name}}}"

    @cached_property
    def questions(self) -> str:
        """What the key of a question's hash begins with; its digest in hexadecimal digits follows."""
        return self._key("q") + ":"

    @cached_property
    def anchors(self) -> str:
        """What the key of an entry's anchor begins with; the id follows."""
        return self._key("a") + ":"

    @cached_property
    def all(self) -> str:
        """Sorted set of all entries."""
        return self._key("all")

    @cached_property
    def life(self) -> str:
        """Sorted set of all entries by expiry."""
        return self._key("life")

    @cached_property
    def scopes(self) -> str:
        """Hash of entries per scope."""
        return self._key("scopes")

    @cached_property
    def counters(self) -> str:
        """Hash of counters."""
        return self._key("counters")

    @cached_property
    def meta(self) -> str:
        """Hash that says for which embedder the cache is."""
        return self._key("meta")

    @cached_property
    def fence(self) -> str:
        """Counter of the fencing tokens."""
        return self._key("fence")

    @cached_property
    def barrier(self) -> str:
        """The fence of the last purge."""
        return self._key("barrier")

    @cached_property
    def purged(self) -> str:
        """Sorted set: what was purged with a condition, by fence."""
        return self._key("purged")

    @cached_property
    def shared(self) -> str:
        """What keys of shared state begin with."""
        return self._key("x") + ":"

    @cached_property
    def sides(self) -> str:
        """What the key of a side set begins with."""
        return self._key("s") + ":"
