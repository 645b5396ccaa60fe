"""Four engines, one way to speak to them: what is sent for an index and a search, and what the replies mean. Pure.

What is sent is the common part of all four grammars: HASH with TAG, NUMERIC and VECTOR, a filter in parentheses before
the KNN, LIMIT and DIALECT always written, nothing returned but the distance. What comes back is read by name and sorted
here: engines differ in the order of rows and of fields, and in nearly every name of FT.INFO.

Source: MemoryDB developer guide, "Vector search" pages FT.CREATE, FT.SEARCH, FT.INFO and "limits", read 2026-11-23;
valkey-search 1.0.3 and 1.2.1, RediSearch 2.10.5 as they answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from yamabiko.stores.memorydb.layout import Layout

Profile: TypeAlias = Literal["memorydb", "valkey-search-1.0", "valkey-search-1.2", "redisearch"]
"""Which engine answers FT commands."""

PROFILES: Final[Sequence[Profile]] = get_args(Profile)

Argument: TypeAlias = bytes | str | int | float
"""A part of a command."""

M: Final = 16
EF_CONSTRUCTION: Final = 100
"""Half of the engines' default: a write costs a third less, and no decision changes (benchmarks/memorydb_load.py)."""
EF_RUNTIME: Final = 64
"""Of the index, instead of the engines' 10, which loses hits."""
MAX_EF: Final = 4096
EPSILON: Final = 0.3
"""How much farther than the range the index looks for ways into it. With 0.2 some hits were lost, with 0.3 none,
and more only costs (benchmarks/memorydb_load.py)."""
RANGE_MILLISECONDS: Final = 10
"""A range search far from everything walks through most of the index (0.1 s at 100,000): it is ended, and KNN asked."""
BY_RANGE: Final[Mapping[Profile, bool]] = MappingProxyType(
    {"memorydb": False, "valkey-search-1.0": False, "valkey-search-1.2": False, "redisearch": True}
)
"""Who is asked by range where the range is small. RediSearch's KNN with a filter looks at every vector of a scope, its
range does not. MemoryDB knows both; which is faster there is for its users to measure (``search=range``)."""

MAX_DIM: Final[Mapping[Profile, int]] = MappingProxyType(
    {"memorydb": 32768, "valkey-search-1.0": 32767, "valkey-search-1.2": 32768, "redisearch": 32768}
)
"""The largest vector that each engine takes."""

MAX_INDEXES: Final = 10
"""Of MemoryDB and of valkey-search before 1.2."""


class Meaning(StrEnum):
    """What an error reply means to us. MemoryDB's own texts are not documented, so patterns are loose."""

    EXISTS = "exists"
    """FT.CREATE: somebody else was faster."""
    GONE = "gone"
    """There is no such index."""
    BACKFILLING = "backfilling"
    """The index is being built."""
    NO_SEARCH = "no search"
    """The server has no FT commands."""
    TOO_MANY = "too many"
    """No further index fits."""
    UNKNOWN_COMMAND = "unknown command"
    DENIED = "denied"
    """The user may not do that."""
    CREDENTIALS = "credentials"
    """Not or no longer logged in."""
    OUT_OF_MEMORY = "out of memory"
    NO_SCRIPT = "no script"
    MOVED = "moved"
    """Another node serves the slot."""
    READ_ONLY = "read only"
    """The node is a replica."""
    NO_CLUSTER = "no cluster"
    """The server is not in cluster mode."""
    BUSY = "busy"
    """Nobody can answer just now: loading, failing over, at its limit of clients."""
    OUT_OF_TIME = "out of time"
    """A search took longer than it was allowed to."""
    OTHER = "other"


_CODES: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        "MOVED": Meaning.MOVED,
        "ASK": Meaning.BUSY,
        "TRYAGAIN": Meaning.BUSY,
        "CLUSTERDOWN": Meaning.BUSY,
        "MASTERDOWN": Meaning.BUSY,
        "LOADING": Meaning.BUSY,
        "BUSY": Meaning.BUSY,
        "UNKILLABLE": Meaning.BUSY,
        "NOREPLICAS": Meaning.BUSY,
        "MISCONF": Meaning.BUSY,
        "READONLY": Meaning.READ_ONLY,
        "OOM": Meaning.OUT_OF_MEMORY,
        "NOSCRIPT": Meaning.NO_SCRIPT,
        "NOPERM": Meaning.DENIED,
        "NOAUTH": Meaning.CREDENTIALS,
        "WRONGPASS": Meaning.CREDENTIALS,
    }
)
_PATTERNS: Final[Sequence[tuple[str, Meaning]]] = (
    ("backfill", Meaning.BACKFILLING),
    ("being built", Meaning.BACKFILLING),
    ("is loading", Meaning.BACKFILLING),
    ("already exists", Meaning.EXISTS),
    ("oom command not allowed", Meaning.OUT_OF_MEMORY),
    ("permission", Meaning.DENIED),
    ("max number of clients", Meaning.BUSY),
    ("limit was reached", Meaning.OUT_OF_TIME),
    ("timeout", Meaning.OUT_OF_TIME),
    ("timed out", Meaning.OUT_OF_TIME),
    ("cluster support disabled", Meaning.NO_CLUSTER),
    ("too many index", Meaning.TOO_MANY),
    ("no such index", Meaning.GONE),
    ("unknown index", Meaning.GONE),
    ("index schema not found", Meaning.GONE),
    ("index not found", Meaning.GONE),
    ("invalid password", Meaning.CREDENTIALS),
    ("no password is set", Meaning.CREDENTIALS),
    ("without any password configured", Meaning.CREDENTIALS),
)

_UNFINISHED: Final = ("in progress", "not ready", "not available", "unavailable", "being created", "being indexed")


def meaning(error_text: str) -> Meaning:
    """What an error reply (with its code, where it has one) means."""
    code, _, _ = error_text.partition(" ")
    if code in _CODES:
        return _CODES[code]
    text = error_text.lower()
    if "unknown command" in text or "unknown subcommand" in text:
        command = text.partition("command")[2].lstrip(" :")[:4].strip("'`\"")
        return Meaning.NO_SEARCH if command.startswith("ft") else Meaning.UNKNOWN_COMMAND
    for pattern, meant in _PATTERNS:
        if pattern in text:
            return meant
    if "index" in text and "not found" in text:
        return Meaning.GONE
    if "index" in text and any(words in text for words in _UNFINISHED):
        return Meaning.BACKFILLING
    if "index" in text and ("limit" in text or "maximum" in text):
        return Meaning.TOO_MANY
    return Meaning.OTHER


def create_index(layout: Layout, dim: int, profile: Profile) -> list[Argument]:
    """FT.CREATE of a cache's index: over the hashes of its questions, by scope, life and vector (``dim`` components).

    Raises ``ValueError`` where the profile's engine takes no vectors of that size.
    """
    if not 0 < dim <= MAX_DIM[profile]:
        raise ValueError(f"{profile} takes vectors of 1 to {MAX_DIM[profile]} components, not {dim}")
    vector: list[Argument] = ["TYPE", "FLOAT32", "DIM", dim, "DISTANCE_METRIC", "COSINE"]
    vector += ["M", M, "EF_CONSTRUCTION", EF_CONSTRUCTION, "EF_RUNTIME", EF_RUNTIME]
    return [
        *("FT.CREATE", layout.index, "ON", "HASH", "PREFIX", 1, layout.prefix, "SCHEMA"),
        *(layout.scope_field, "TAG", "CASESENSITIVE", layout.life_field, "NUMERIC"),
        *(layout.vector_field, "VECTOR", "HNSW", len(vector), *vector),
    ]


def knn(layout: Layout, scope_hex: str, vector_bytes: bytes, k: int, now: float | None = None) -> list[Argument]:
    """FT.SEARCH for the ``k`` nearest questions of a scope (64 hexadecimal digits), the dead among them.

    With ``now``, only those usable after it, which costs some engines more. ``vector_bytes``: float32, little endian.
    The reply holds keys and distances only.
    """
    effort = f" EF_RUNTIME {min(MAX_EF, k)}" if k > EF_RUNTIME else ""
    alive = "" if now is None else f" @{layout.life_field}:[({now!r} +Inf]"
    near = f"KNN {k} @{layout.vector_field} $q{effort} AS d"
    return _search(layout, f"(@{layout.scope_field}:{{{scope_hex}}}{alive})=>[{near}]", vector_bytes, k)


def within(layout: Layout, scope_hex: str, vector_bytes: bytes, distance: float, limit: int) -> list[Argument]:
    """FT.SEARCH for all questions of a scope up to a cosine distance (0 to 2), in any order, ``limit`` of them at most.

    Only MemoryDB and RediSearch know VECTOR_RANGE; see ``BY_RANGE``. It ends out of time after ``RANGE_MILLISECONDS``.
    """
    near = f"@{layout.vector_field}:[VECTOR_RANGE {distance:.6f} $q]=>{{$yield_distance_as: d; $epsilon: {EPSILON}}}"
    command = _search(layout, f"(@{layout.scope_field}:{{{scope_hex}}} {near})", vector_bytes, limit)
    return [*command, "TIMEOUT", RANGE_MILLISECONDS]


def _search(layout: Layout, query: str, vector_bytes: bytes, limit: int) -> list[Argument]:
    return [
        *("FT.SEARCH", layout.index, query, "RETURN", 1, "d", "LIMIT", 0, limit),
        *("PARAMS", 2, "q", vector_bytes, "DIALECT", 2),
    ]


def rows(reply: object) -> list[tuple[bytes, float]]:
    """Key and cosine distance (0 to 2) of each row of an FT.SEARCH reply, nearest first.

    Rows without fields (keys that expired meanwhile) and without a finite distance are left out.
    """
    found = []
    for key, fields in _rows(reply):
        distance = _number(_by_name(fields).get("d"))
        if distance is not None and math.isfinite(distance):
            found.append((key, distance))
    return sorted(found, key=lambda row: row[1])


def _rows(reply: object) -> Iterator[tuple[bytes, object]]:
    """Key and fields: of a flat array, of one whose rows are arrays, or of RediSearch's map under RESP3."""
    if isinstance(reply, Mapping):
        results = _by_name(reply).get("results")
        for result in results if isinstance(results, list | tuple) else ():
            named = _by_name(result)
            key = _bytes(named.get("id"))
            if key is not None:
                yield key, named.get("extra_attributes")
    elif isinstance(reply, list | tuple):
        for key, fields in zip(reply[1::2], reply[2::2], strict=False):
            name = _bytes(key)
            if name is not None:
                yield name, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDescription:
    """What FT.INFO says of an index.

    ``dim``, ``metric`` (COSINE, L2 or IP), ``prefixes`` and ``documents`` are None where it doesn't say. ``ready``: it
    can be searched and is complete; ``progress`` (0 to 1) is how far it is built. ``fields`` maps names to types.
    ``profile`` is whose reply this looks like.
    """

    dim: int | None
    metric: str | None
    prefixes: tuple[str, ...] | None
    ready: bool
    progress: float
    documents: int | None
    fields: Mapping[str, str]
    profile: Profile | None


def describe(ft_info_reply: object, vector_field: str | None = None) -> IndexDescription:
    """What an FT.INFO reply says, of whichever engine; ``vector_field`` names ours where an index has several."""
    info = _by_name(ft_info_reply)
    attributes = [_by_name(attribute) for attribute in _listed(info.get("attributes", info.get("fields")))]
    vectors = [attribute for attribute in attributes if _text(attribute.get("type")).upper() == "VECTOR"]
    mine = [attribute for attribute in vectors if vector_field in (None, *_names(attribute))]
    vector = mine[0] if mine else {}
    # A vector's parameters stand beside its name (RediSearch), or in a part of their own.
    parts = [vector, *(_by_name(vector.get(name)) for name in ("index", "vector_params", "option"))]
    dim = _first(parts, "dim", "dimension", "dimensions")
    metric = _text(_first(parts, "distance_metric")).upper() or None
    definition = _by_name(info.get("index_definition"))
    prefixes = definition.get("prefixes", info.get("key_prefixes"))
    ready, progress = _state(info)
    documents = _number(info.get("num_docs"))
    return IndexDescription(
        dim=_whole(dim),
        metric=metric,
        prefixes=None if prefixes is None else tuple(_text(prefix) for prefix in _listed(prefixes)),
        ready=ready,
        progress=progress,
        documents=None if documents is None or not math.isfinite(documents) else int(documents),
        fields=MappingProxyType({_names(a)[-1]: _text(a.get("type")).upper() for a in attributes if _names(a)}),
        profile=_profile(info),
    )


def _state(info: Mapping[str, Any]) -> tuple[bool, float]:
    """Whether an index is complete, and how much of it is: 0 to 1. Silence counts as complete."""
    progress = _number(info.get("backfill_complete_percent", info.get("percent_indexed")))
    degraded = _number(info.get("index_degradation_percentage"))
    if progress is None and degraded is not None:
        progress = 1 - degraded / 100
    ready = not (_truth(info.get("backfill_in_progress")) or _truth(info.get("indexing")))
    state = _text(info.get("state")).lower()
    status = _text(info.get("backfill_status")).lower()  # documented as Completed, InProgres, Paused, Failed
    available = _text(info.get("index_status")).lower()
    ready = ready and state in ("", "ready") and not status.startswith(("inprog", "in_prog", "paused", "failed"))
    ready = ready and available in ("", "available")
    if progress is None or not math.isfinite(progress):
        return ready, 1.0 if ready else 0.0
    return ready, min(1.0, max(0.0, progress))


def _profile(info: Mapping[str, Any]) -> Profile | None:
    """By the names that only one of the engines uses."""
    if any(name in info for name in ("backfill_status", "key_prefixes", "current_lag", "index_status")):
        return "memorydb"
    if "percent_indexed" in info or "gc_stats" in info:
        return "redisearch"
    if "mutation_queue_size" in info or "backfill_in_progress" in info:
        newer = ("user_indexed_memory", "total_term_occurrences", "language")
        return "valkey-search-1.2" if any(name in info for name in newer) else "valkey-search-1.0"
    return None


def profile_of(info_text: str) -> Profile | None:
    """The engine that the text of INFO betrays by its modules and sections; None where it says nothing of search."""
    for line in info_text.splitlines():
        if line.startswith("module:name=search,ver="):
            version = _whole(line.removeprefix("module:name=search,ver=").partition(",")[0]) or 0
            return next((profile for versions, profile in _MODULES if version in versions), "redisearch")
    return "memorydb" if "search_number_of_indexes:" in info_text else None


_MODULES: Final[
    Sequence[tuple[range, Profile]]
] = (  # 1.2.1 counted as 10201 or as 0x010201; RediSearch 2.10.5 is 21005
    (range(10000, 10200), "valkey-search-1.0"),
    (range(10200, 20000), "valkey-search-1.2"),
    (range(0x010000, 0x010200), "valkey-search-1.0"),
    (range(0x010200, 0x010A00), "valkey-search-1.2"),
)


def _by_name(part: object) -> dict[str, Any]:
    """A map, or a flat array of names and values, with its names in lower case; empty for anything else."""
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(part, Mapping):
        pairs = part.items()
    elif isinstance(part, list | tuple):
        pairs = _paired(part)
    return {_text(name).lower(): value for name, value in pairs}


def _paired(flat: Sequence[object]) -> Iterator[tuple[object, object]]:
    """Names and values of a flat array. RediSearch lists switches (CASESENSITIVE, SORTABLE) without a value."""
    at = 0
    while at < len(flat):
        name = _text(flat[at])
        has_value = at + 1 < len(flat) and (name.upper() not in _SWITCHES or isinstance(flat[at + 1], int))
        yield name, flat[at + 1] if has_value else 1
        at += 2 if has_value else 1


_SWITCHES: Final = frozenset({"CASESENSITIVE", "SORTABLE", "UNF", "NOSTEM", "NOINDEX", "INDEXMISSING", "INDEXEMPTY"})


def _names(attribute: Mapping[str, Any]) -> tuple[str, ...]:
    """The identifier of a field and the name that queries use, as far as they are there."""
    given = (attribute.get("identifier"), attribute.get("field_name", attribute.get("attribute")))
    return tuple(_text(name) for name in given if name is not None)


def _first(parts: Iterable[Mapping[str, Any]], *names: str) -> object:
    return next((part[name] for part in parts for name in names if name in part), None)


def _listed(part: object) -> Sequence[object]:
    return part if isinstance(part, list | tuple) else ()


def _bytes(part: object) -> bytes | None:
    return part if isinstance(part, bytes) else part.encode() if isinstance(part, str) else None


def _text(part: object) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part if isinstance(part, str) else ""


def _number(part: object) -> float | None:
    if isinstance(part, bytes | str | int | float):
        try:
            return float(part)
        except (ValueError, OverflowError):
            return None
    return None


def _whole(part: object) -> int | None:
    number = _number(part)
    return int(number) if number is not None and math.isfinite(number) else None


def _truth(part: object) -> bool:
    return bool(_number(part) or 0)
