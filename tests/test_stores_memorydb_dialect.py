"""What is sent to the four engines, and what their replies mean."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.stores.memorydb.dialect import (
    EF_RUNTIME,
    MAX_DIM,
    PROFILES,
    Meaning,
    create_index,
    describe,
    knn,
    meaning,
    profile_of,
    rows,
)
from yamabiko.stores.memorydb.layout import Layout

LAYOUT = Layout(name="shop", embedder="e", dim=3)
SCOPE = "ab" * 32
VECTOR = struct.pack("<3f", 1, 0, 0)
MEMORYDB_WORDS = {"FT.CREATE", "ON", "HASH", "PREFIX", "SCHEMA", "TAG", "CASESENSITIVE", "NUMERIC", "VECTOR", "HNSW"}
VECTOR_WORDS = {"TYPE", "FLOAT32", "DIM", "DISTANCE_METRIC", "COSINE", "M", "EF_CONSTRUCTION", "EF_RUNTIME"}


@pytest.mark.parametrize("profile", PROFILES)
def test_an_index_is_made_of_what_all_engines_know(profile):
    sent = create_index(LAYOUT, 3, profile)
    names = {LAYOUT.index, LAYOUT.prefix, LAYOUT.scope_field, LAYOUT.life_field, LAYOUT.vector_field}
    assert {word for word in sent if isinstance(word, str)} - names == MEMORYDB_WORDS | VECTOR_WORDS
    assert not any("{" in str(word) for word in sent), "valkey-search 1.0 refuses braces"
    at = sent.index("HNSW")
    assert sent[at + 1] == len(sent) - at - 2, "the count covers exactly the attributes that follow"
    assert sent[sent.index("EF_RUNTIME") + 1] == EF_RUNTIME


@pytest.mark.parametrize("profile", PROFILES)
def test_a_vector_that_is_too_large_for_an_engine_is_refused_before_it_is_asked(profile):
    assert create_index(LAYOUT, MAX_DIM[profile], profile)
    for dim in (0, MAX_DIM[profile] + 1):
        with pytest.raises(ValueError, match="components"):
            create_index(LAYOUT, dim, profile)


def test_a_search_names_scope_life_and_vector_and_returns_the_distance_only():
    assert knn(LAYOUT, SCOPE, VECTOR, 5, 1700000000.25) == [
        "FT.SEARCH",
        LAYOUT.index,
        f"(@{LAYOUT.scope_field}:{{{SCOPE}}} @x:[(1700000000.25 +Inf])=>[KNN 5 @{LAYOUT.vector_field} $q AS d]",
        *("RETURN", 1, "d", "LIMIT", 0, 5, "PARAMS", 2, "q", VECTOR, "DIALECT", 2),
    ]


@pytest.mark.parametrize(("k", "effort"), [(1, ""), (64, ""), (65, " EF_RUNTIME 65"), (9999, " EF_RUNTIME 4096")])
def test_more_neighbours_need_more_effort_within_the_limit_of_memorydb(k, effort):
    query = knn(LAYOUT, SCOPE, VECTOR, k, 0.0)[2]
    assert f"[KNN {k} @{LAYOUT.vector_field} $q{effort} AS d]" in query


RESP3 = {
    b"attributes": [],
    b"total_results": 2,
    b"format": b"STRING",
    b"results": [
        {b"id": b"far", b"extra_attributes": {b"d": b"0.5"}, b"values": []},
        {b"id": b"near", b"extra_attributes": {b"d": b"0.25"}, b"values": []},
    ],
    b"warning": [],
}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ([0], []),
        ([1, b"near", [b"d", b"0.25"]], [(b"near", 0.25)]),
        ([2, b"far", [b"d", b"0.5"], b"near", [b"d", b"0.25"]], [(b"near", 0.25), (b"far", 0.5)]),
        ([1, b"near", [b"x", b"9", b"d", b"0.25"]], [(b"near", 0.25)]),
        ([2, b"expired", None, b"near", [b"d", b"0.25"]], [(b"near", 0.25)]),
        ([2, b"zero", [b"d", b"-nan"], b"bad", [b"d", b"nan"]], []),
        ([1, b"odd", [b"d", b"inf"]], []),
        ([1, b"empty", []], []),
        ([1, b"worded", [b"d", b"close"]], []),
        ([1, "text", ["d", "0.25"]], [(b"text", 0.25)]),
        ([1, b"near", {b"d": 0.25}], [(b"near", 0.25)]),
        ([1, b"cut"], []),
        (RESP3, [(b"near", 0.25), (b"far", 0.5)]),
        ({b"results": None}, []),
        (None, []),
        (7, []),
    ],
)
def test_rows_are_read_by_name_and_sorted_by_distance(reply, found):
    assert rows(reply) == found


SCALARS = st.none() | st.integers(-5, 5) | st.floats() | st.binary(max_size=6) | st.text(max_size=6)
REPLIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.binary(max_size=4) | st.text(max_size=4), inner),
    max_leaves=20,
)


@given(REPLIES)
def test_no_reply_breaks_the_reader_and_distances_are_finite_and_ascend(reply):
    distances = [distance for _, distance in rows(reply)]
    assert all(math.isfinite(distance) for distance in distances)
    assert distances == sorted(distances)


@given(st.dictionaries(st.binary(min_size=1), st.floats(0, 2)), st.randoms())
def test_the_order_in_which_an_engine_answers_does_not_matter(distances, chance):
    shuffled = list(distances.items())
    chance.shuffle(shuffled)
    reply = [len(shuffled)]
    for key, distance in shuffled:
        reply += [key, [b"d", repr(distance).encode()]]
    found = rows(reply)
    assert dict(found) == distances
    assert [distance for _, distance in found] == sorted(distances.values())


VALKEY_SEARCH_1_0 = [
    *(b"index_name", b"shop:i:1", b"index_options", []),
    *(b"index_definition", [b"key_type", b"HASH", b"prefixes", [b"shop:q:"], b"default_score", b"1"]),
    b"attributes",
    [
        [b"identifier", b"s_1", b"attribute", b"s_1", b"type", b"TAG", b"SEPARATOR", b",", b"size", b"0"],
        [b"identifier", b"x", b"attribute", b"x", b"type", b"NUMERIC", b"size", b"0"],
        [
            *(b"identifier", b"v_1", b"attribute", b"v_1", b"type", b"VECTOR", b"index"),
            [
                *(b"capacity", 10240, b"dimensions", 384, b"distance_metric", b"COSINE", b"size", b"0"),
                *(b"data_type", b"FLOAT32", b"algorithm", [b"name", b"HNSW", b"m", 16, b"ef_construction", 200]),
            ],
        ],
    ],
    *(b"num_docs", b"17", b"num_terms", b"0", b"num_records", b"51", b"hash_indexing_failures", b"0"),
    *(b"backfill_in_progress", b"0", b"backfill_complete_percent", b"1.000000", b"mutation_queue_size", b"0"),
    *(b"recent_mutations_queue_delay", b"0 sec", b"state", b"ready"),
]
VALKEY_SEARCH_1_2 = [
    *(b"index_name", b"shop:i:1", b"index_definition", [b"key_type", b"HASH", b"prefixes", [b"shop:q:"]]),
    b"attributes",
    [
        [
            *(b"identifier", b"s_1", b"attribute", b"s_1", b"user_indexed_memory", 0, b"CASESENSITIVE", 1),
            *(b"SEPARATOR", b",", b"type", b"TAG", b"size", 0),
        ],
        [b"identifier", b"x", b"attribute", b"x", b"user_indexed_memory", 0, b"type", b"NUMERIC", b"size", 0],
        [
            *(b"identifier", b"v_1", b"attribute", b"v_1", b"user_indexed_memory", 0, b"type", b"VECTOR", b"index"),
            [b"capacity", 10240, b"dimensions", 384, b"distance_metric", b"COSINE", b"size", 0],
        ],
    ],
    *(b"num_docs", 17, b"num_records", 51, b"total_term_occurrences", 0, b"hash_indexing_failures", 0),
    *(b"backfill_in_progress", 0, b"backfill_complete_percent", b"1.000000", b"mutation_queue_size", 0),
    *(b"state", b"ready", b"language", b"english"),
]
REDISEARCH = [
    *(b"index_name", b"shop:i:1", b"index_options", []),
    *(b"index_definition", [b"key_type", b"HASH", b"prefixes", [b"shop:q:"], b"default_score", b"1"]),
    b"attributes",
    [
        [b"identifier", b"s_1", b"attribute", b"s_1", b"CASESENSITIVE", b"type", b"TAG", b"SEPARATOR", b""],
        [b"identifier", b"x", b"attribute", b"x", b"type", b"NUMERIC"],
        [
            *(b"identifier", b"v_1", b"attribute", b"v_1", b"type", b"VECTOR", b"algorithm", b"HNSW"),
            *(b"data_type", b"FLOAT32", b"dim", 384, b"distance_metric", b"COSINE", b"M", 16),
        ],
    ],
    *(b"num_docs", b"17", b"max_doc_id", b"17", b"hash_indexing_failures", b"0", b"indexing", b"0"),
    *(b"percent_indexed", b"1", b"gc_stats", [b"bytes_collected", b"0"], b"cursor_stats", []),
]
MEMORYDB = [
    *(b"index_name", b"shop:i:1", b"creation_timestamp", 1795515294, b"key_type", b"HASH"),
    *(b"key_prefixes", [b"shop:q:"], b"fields"),
    [
        [b"identifier", b"s_1", b"field_name", b"s_1", b"type", b"TAG", b"option", b""],
        [b"identifier", b"x", b"field_name", b"x", b"type", b"NUMERIC", b"option", b""],
        [
            *(b"identifier", b"v_1", b"field_name", b"v_1", b"type", b"VECTOR", b"option", b"", b"vector_params"),
            [
                *(b"algorithm", b"HNSW", b"data_type", b"FLOAT32", b"dimension", 384, b"distance_metric", b"COSINE"),
                *(b"initial_capacity", 1000, b"maximum_edges", 16, b"ef_runtime", 64, b"epsilon", b"0.01"),
            ],
        ],
    ],
    *(b"space_usage", 8192, b"fullext_space_usage", 0, b"vector_space_usage", 8192),
    *(b"num_docs", 17, b"num_indexed_vectors", 17, b"current_lag", 0, b"backfill_status", b"Completed"),
]
INFOS = {
    "memorydb": MEMORYDB,
    "valkey-search-1.0": VALKEY_SEARCH_1_0,
    "valkey-search-1.2": VALKEY_SEARCH_1_2,
    "redisearch": REDISEARCH,
}


def as_map(part):
    """The reply as RESP3 has it."""
    if isinstance(part, list) and b"CASESENSITIVE" in part and part[part.index(b"CASESENSITIVE") + 1] != 1:
        part = [*part, 1] if part[-1] == b"CASESENSITIVE" else [p for p in part if p != b"CASESENSITIVE"]
    if isinstance(part, list) and part and all(isinstance(name, bytes) for name in part[::2]) and len(part) % 2 == 0:
        return {name: as_map(value) for name, value in zip(part[::2], part[1::2], strict=True)}
    return [as_map(inner) for inner in part] if isinstance(part, list) else part


@pytest.mark.parametrize("shape", [list, as_map])
@pytest.mark.parametrize("profile", PROFILES)
def test_an_index_is_described_alike_whichever_engine_has_it(profile, shape):
    found = describe(shape(INFOS[profile]), "v_1")
    assert (found.dim, found.metric, found.prefixes, found.documents) == (384, "COSINE", ("shop:q:",), 17)
    assert (found.ready, found.progress) == (True, 1.0)
    assert found.fields == {"s_1": "TAG", "x": "NUMERIC", "v_1": "VECTOR"}
    assert found.profile == profile


def changed(info, **values):
    """The reply with other values for some names."""
    named = dict(zip(info[::2], info[1::2], strict=True)) | {name.encode(): value for name, value in values.items()}
    return [part for pair in named.items() for part in pair]


@pytest.mark.parametrize(
    ("info", "progress"),
    [
        (changed(MEMORYDB, backfill_status=b"InProgres"), 0.0),
        (changed(MEMORYDB, backfill_status=b"InProgress"), 0.0),
        (changed(MEMORYDB, backfill_status=b"Paused"), 0.0),
        (changed(MEMORYDB, backfill_status=b"Failed"), 0.0),
        (changed(MEMORYDB, index_status=b"BACKFILLING", index_degradation_percentage=b"40"), 0.6),
        (changed(VALKEY_SEARCH_1_0, backfill_in_progress=b"1", backfill_complete_percent=b"0.25"), 0.25),
        (changed(VALKEY_SEARCH_1_0, state=b"backfill_in_progress"), 1.0),
        (changed(VALKEY_SEARCH_1_2, state=b"backfill_paused_by_oom", backfill_complete_percent=b"0.5"), 0.5),
        (changed(REDISEARCH, indexing=b"1", percent_indexed=b"0.75"), 0.75),
    ],
)
def test_an_index_that_is_being_built_says_how_far(info, progress):
    found = describe(info)
    assert not found.ready
    assert found.progress == pytest.approx(progress)


def test_of_several_vector_fields_ours_is_described():
    second = [b"identifier", b"v_2", b"attribute", b"v_2", b"type", b"VECTOR", b"dim", 512, b"distance_metric", b"L2"]
    two = changed(REDISEARCH, attributes=[second, *REDISEARCH[REDISEARCH.index(b"attributes") + 1]])
    assert (describe(two, "v_1").dim, describe(two, "v_2").dim, describe(two, "v_3").dim) == (384, 512, None)


@given(REPLIES)
def test_no_description_breaks_the_reader(reply):
    found = describe(reply)
    assert 0 <= found.progress <= 1


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Index already exists", Meaning.EXISTS),
        ("Index shop:i:1 already exists.", Meaning.EXISTS),
        ("Index shop:i:1 in database 0 already exists.", Meaning.EXISTS),
        ("Index with name 'shop:i:1' not found", Meaning.GONE),
        ("Index with name 'shop:i:1' not found in database 0", Meaning.GONE),
        ("Index schema not found: shop:i:1", Meaning.GONE),
        ("shop:i:1: no such index", Meaning.GONE),
        ("Unknown index name", Meaning.GONE),
        ("Unknown Index name", Meaning.GONE),
        ("Index is backfilling", Meaning.BACKFILLING),
        ("ERR the index is in backfill, try again later", Meaning.BACKFILLING),
        ("Index is being built", Meaning.BACKFILLING),
        ("ERR The index is not ready yet", Meaning.BACKFILLING),
        ("ERR Indexing in progress for shop:i:1", Meaning.BACKFILLING),
        ("ERR Index shop:i:1 is not available: it is being created", Meaning.BACKFILLING),
        ("ERR unknown command 'FT.CREATE', with args beginning with: 'x' ", Meaning.NO_SEARCH),
        ("unknown command `FT.SEARCH`, with args beginning with: `x`", Meaning.NO_SEARCH),
        ("unknown command 'ft.info'", Meaning.NO_SEARCH),
        ("unknown command 'EVALSHA'", Meaning.UNKNOWN_COMMAND),
        ("ERR unknown subcommand 'SLOTS'. Try CLUSTER HELP.", Meaning.UNKNOWN_COMMAND),
        ("NOPERM User app has no permissions to run the 'ft.create' command", Meaning.DENIED),
        ("The user doesn't have a permission to execute a command", Meaning.DENIED),
        ("The user does not have permission to access the key prefix", Meaning.DENIED),
        ("ERR ACL failure in script: User app has no permissions to run the 'zadd' command", Meaning.DENIED),
        ("WRONGPASS invalid username-password pair or user is disabled.", Meaning.CREDENTIALS),
        ("NOAUTH Authentication required.", Meaning.CREDENTIALS),
        ("invalid password", Meaning.CREDENTIALS),
        ("OOM command not allowed when used memory > 'maxmemory'.", Meaning.OUT_OF_MEMORY),
        ("NOSCRIPT No matching script.", Meaning.NO_SCRIPT),
        ("MOVED 3999 127.0.0.1:6381", Meaning.MOVED),
        ("READONLY You can't write against a read only replica.", Meaning.READ_ONLY),
        ("LOADING Redis is loading the dataset in memory", Meaning.BUSY),
        ("CLUSTERDOWN The cluster is down", Meaning.BUSY),
        ("MASTERDOWN Link with MASTER is down", Meaning.BUSY),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Meaning.BUSY),
        ("ASK 3999 127.0.0.1:6381", Meaning.BUSY),
        ("max number of clients reached", Meaning.BUSY),
        ("Timeout limit was reached", Meaning.OUT_OF_TIME),
        ("Search operation cancelled due to timeout", Meaning.OUT_OF_TIME),
        ("ERR This instance has cluster support disabled", Meaning.NO_CLUSTER),
        ("ERR maximum number of indexes reached", Meaning.TOO_MANY),
        ("ERR The limit of 10 indexes is reached", Meaning.TOO_MANY),
        ("Maximum number of indexes reached (10). Cannot create additional indexes.", Meaning.TOO_MANY),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Meaning.OTHER),
        ("Syntax error at offset 3 near >[", Meaning.OTHER),
        ("", Meaning.OTHER),
    ],
)
def test_error_texts_of_all_engines_have_a_meaning(text, meant):
    assert meaning(text) is meant


@given(st.text())
def test_every_error_text_has_a_meaning(text):
    assert meaning(text) in Meaning


@pytest.mark.parametrize(
    ("info", "profile"),
    [
        (
            "# Modules\r\nmodule:name=search,ver=21005,api=1,filters=0\r\n# search_index\r\nsearch_number_of_indexes:0",
            "redisearch",
        ),
        ("# Modules\r\nmodule:name=search,ver=80001,api=1", "redisearch"),
        ("# Modules\r\nmodule:name=search,ver=10003,api=1", "valkey-search-1.0"),
        ("# Modules\r\nmodule:name=search,ver=65539,api=1", "valkey-search-1.0"),
        ("# Modules\r\nmodule:name=search,ver=66049,api=1", "valkey-search-1.2"),
        ("# Modules\r\nmodule:name=search,ver=,api=1", "redisearch"),
        ("# SEARCH\r\nsearch_used_memory_bytes:0\r\nsearch_number_of_indexes:1\r\n", "memorydb"),
        ("# Modules\r\nmodule:name=lua,ver=1,api=1\r\n", None),
        ("", None),
    ],
)
def test_the_engine_is_known_by_what_info_says(info, profile):
    assert profile_of(info) == profile
