"""What each engine knows of search, in numbers and words.

Source: MemoryDB developer guide, "Vector search commands" and "Limits" (2026-11); valkey-search 1.0.3 and 1.2.1 as
measured. MemoryDB's error texts are not published: those here are plausible ones, and ``Guard.texts`` changes them.
"""

from dataclasses import dataclass, field

_CORE = {"FT.CREATE", "FT.SEARCH", "FT.DROPINDEX", "FT.INFO", "FT._LIST"}
_MEMORYDB = {"FT.AGGREGATE", "FT.ALIASADD", "FT.ALIASDEL", "FT.ALIASUPDATE", "FT._ALIASLIST"} | {
    "FT.PROFILE",
    "FT.EXPLAIN",
    "FT.EXPLAINCLI",
}

NEWER_THAN_7_2 = frozenset({"CLIENT|CAPA", "SCRIPT|SHOW", "CLUSTER|SLOT-STATS", "CLIENT|IMPORT-SOURCE", "COMMANDLOG"})
NEWER_THAN_8_1 = frozenset(
    [
        "HEXPIRE",
        "HPEXPIRE",
        "HEXPIREAT",
        "HPEXPIREAT",
        "HEXPIRETIME",
        "HPEXPIRETIME",
        "HPERSIST",
        "HTTL",
        "HPTTL",
        "HSETEX",
        "HGETEX",
        "HGETDEL",
        "DELIFEQ",
        "MSETEX",
        "CLUSTERSCAN",
        "CLUSTER|FLUSHSLOT",
        "CLUSTER|MIGRATESLOTS",
        "CLUSTER|GETSLOTMIGRATIONS",
    ]
)
# What the service keeps for itself, and KEYS, which stops a server of its size.
PROHIBITED = frozenset(
    [
        "CONFIG",
        "DEBUG",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "SHUTDOWN",
        "REPLICAOF",
        "SLAVEOF",
        "SYNC",
        "PSYNC",
        "MIGRATE",
        "MODULE",
        "MONITOR",
        "KEYS",
        "ACL|SETUSER",
        "ACL|DELUSER",
        "ACL|LOAD",
        "ACL|SAVE",
        "ACL|LOG",
        "CLUSTER|ADDSLOTS",
        "CLUSTER|ADDSLOTSRANGE",
        "CLUSTER|DELSLOTS",
        "CLUSTER|DELSLOTSRANGE",
        "CLUSTER|FAILOVER",
        "CLUSTER|FORGET",
        "CLUSTER|MEET",
        "CLUSTER|REPLICATE",
        "CLUSTER|RESET",
        "CLUSTER|SAVECONFIG",
        "CLUSTER|SET-CONFIG-EPOCH",
        "CLUSTER|SETSLOT",
        "CLUSTER|BUMPEPOCH",
        "CLUSTER|FLUSHSLOTS",
    ]
)
# Replies that nobody asked for: the guard pairs every reply with its command.
UNPAIRED = frozenset(
    ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC", "CLIENT|REPLY", "CLIENT|TRACKING"]
)

_TEXTS = {
    "unknown_command": "ERR unknown command '{name}', with args beginning with: {arguments}",
    "not_paired": "ERR the guard does not carry '{name}'",
    "readonly": "READONLY You can't write against a read only replica.",
    "loading": "LOADING Valkey is loading the dataset in memory",
    "clusterdown": "CLUSTERDOWN The cluster is down",
    "out_of_memory": "OOM command not allowed when used memory > 'maxmemory'.",
    "wrong_password": "WRONGPASS invalid username-password pair or user is disabled.",
    "no_password": "NOAUTH Authentication required.",
    "no_protocol": "NOPROTO unsupported protocol version",
    "iam_in_multi": "ERR IAM authentication is not supported inside MULTI",
    "aborted": "EXECABORT Transaction discarded because of previous errors.",
}
_MEMORYDB_TEXTS = _TEXTS | {
    "syntax": "SYNTAXERR {what}",
    "exists": "ERR Index {index} already exists",
    "unknown_index": "ERR Index not found: {index}",
    "too_many_indexes": "ERR The limit of {limit} indexes is reached",
    "backfilling": "ERR Index {index} is being backfilled: search is not available until it is complete",
    "in_transaction": "ERR {name} is not allowed in a transaction or script",
    "blob_size": "ERR Query vector has {got} bytes, the index needs {wanted}",
}
_VALKEY_TEXTS = _TEXTS | {
    "syntax": "{what}",
    "too_many_indexes": "Maximum number of indexes reached ({limit}). Cannot create additional indexes.",
    "backfilling": "",  # it answers, with what it has
    "in_transaction": "Command is not allowed in MULTI/EXEC or Lua: {name}",
    "blob_size": "Error parsing vector similarity parameters: query vector blob size ({got}) does not match index's "
    "expected size ({wanted}).",
}


@dataclass(frozen=True)
class Profile:
    name: str
    scheme: str  # of the URL under which a client calls it
    commands: frozenset
    texts: dict
    max_indexes: int
    max_fields: int
    max_prefixes: int
    max_dim: int
    max_m: int
    max_ef: int  # EF_CONSTRUCTION and EF_RUNTIME, in FT.CREATE
    max_k: int
    max_timeout_milliseconds: int
    field_types: frozenset
    dialects: frozenset
    server_version: str
    refused: frozenset = frozenset()
    module_version: int = 0
    needs_on: bool = False  # FT.CREATE must say ON
    needs_vector: bool = False  # an index without a vector field is refused
    braces: str = "free"  # in index names and prefixes: free, pairs or none
    sortable: bool = False  # SORTABLE is accepted and ignored
    filter_only: bool = True  # a query without KNN is answered
    star_only: bool = False  # ... also when it is a bare *
    negation: bool = False
    prefix_tags: bool = False
    wild_tags: bool = False  # any character may stand in a tag unescaped
    vector_range: bool = False
    returns_declared_only: bool = False
    search_words: frozenset = field(default_factory=frozenset)  # options of FT.SEARCH besides the common ones
    refuses_unused_params: bool = False
    waits_for_index: bool = True  # a write is found at once, and a backfill answers in part
    max_params: int = 1 << 30


MEMORYDB = Profile(
    name="memorydb",
    scheme="memorydb",
    commands=frozenset(_CORE | _MEMORYDB),
    texts=_MEMORYDB_TEXTS,
    max_indexes=10,
    max_fields=50,
    max_prefixes=1 << 30,
    max_dim=32768,
    max_m=512,
    max_ef=4096,
    max_k=1 << 30,
    max_timeout_milliseconds=10_000,
    field_types=frozenset({"TAG", "NUMERIC", "VECTOR", "TEXT"}),
    dialects=frozenset({2}),
    server_version="7.2.6",
    refused=PROHIBITED | NEWER_THAN_7_2 | NEWER_THAN_8_1,
    needs_on=True,
    star_only=True,
    vector_range=True,
    returns_declared_only=True,
    search_words=frozenset({"COUNT"}),
    waits_for_index=False,
    max_params=32,
)
VALKEY_SEARCH_1_0 = Profile(
    name="valkey-search-1.0",
    scheme="valkey",
    commands=frozenset(_CORE),
    texts=_VALKEY_TEXTS
    | {"exists": "Index {index} already exists.", "unknown_index": "Index with name '{index}' not found"},
    max_indexes=10,
    max_fields=50,
    max_prefixes=16,
    max_dim=32767,
    max_m=2_000_000,
    max_ef=4096,
    max_k=1 << 30,
    max_timeout_milliseconds=60_000,
    field_types=frozenset({"TAG", "NUMERIC", "VECTOR"}),
    dialects=frozenset({2, 3, 4}),
    server_version="8.1.3",
    refused=NEWER_THAN_8_1,
    module_version=10003,
    needs_vector=True,
    braces="none",
    filter_only=False,
    negation=True,
    wild_tags=True,
    search_words=frozenset({"NOCONTENT", "LOCALONLY"}),
    refuses_unused_params=True,
)
VALKEY_SEARCH_1_2 = Profile(
    name="valkey-search-1.2",
    scheme="valkey",
    commands=frozenset(_CORE | {"FT.AGGREGATE"}),
    texts=_VALKEY_TEXTS
    | {
        "exists": "Index {index} in database 0 already exists.",
        "unknown_index": "Index with name '{index}' not found in database 0",
    },
    max_indexes=1000,
    max_fields=1000,
    max_prefixes=8,
    max_dim=32768,
    max_m=2_000_000,
    max_ef=1_000_000,
    max_k=10_000,
    max_timeout_milliseconds=60_000,
    field_types=frozenset({"TAG", "NUMERIC", "VECTOR", "TEXT"}),
    dialects=frozenset({2, 3, 4}),
    server_version="9.0.3",
    module_version=10201,
    braces="pairs",
    sortable=True,
    negation=True,
    prefix_tags=True,
    wild_tags=True,
    search_words=frozenset({"NOCONTENT", "LOCALONLY", "SOMESHARDS", "ALLSHARDS", "VERBATIM", "SORTBY"}),
    refuses_unused_params=True,
)
PROFILES = {profile.name: profile for profile in (MEMORYDB, VALKEY_SEARCH_1_0, VALKEY_SEARCH_1_2)}


class Refusal(Exception):
    """The engine's answer is an error: ``key`` names one of the profile's texts, the rest fills it in."""

    def __init__(self, key, **parts):
        super().__init__(key, parts)
        self.key = key
        self.parts = parts


def syntax(what) -> Refusal:
    return Refusal("syntax", what=what)
