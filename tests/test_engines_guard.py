"""The guard is as strict as the engine whose name it bears: each row of the documentation's tables is a case."""

import pytest

from engines.client import ASKED, EVERY, KNN, MEMORYDB, NEW, OLD, SCHEMA, TAIL, VALKEYS, VECTOR, Client, floats
from engines.guard import Guard
from engines.resp import EngineError


@pytest.fixture(scope="module")
def guards(engine):
    """One guard for each profile, for the tests that only ask."""
    made = {profile: Guard(engine, profile=profile).start() for profile in EVERY}
    yield made
    for guard in made.values():
        guard.stop()


@pytest.fixture
def client(guard_client):
    return guard_client


@pytest.fixture(scope="module")
def clients(guards):
    """One client and one index with documents for each profile, for the tests that only search."""
    made = {profile: Client(guard, f"asked{number}").fill() for number, (profile, guard) in enumerate(guards.items())}
    yield made
    for one in made.values():
        one.ask("FT.DROPINDEX", one.name)
        one.close()


# Commands

COMMANDS = {
    "FT.CREATE": EVERY,
    "FT.SEARCH": EVERY,
    "FT.DROPINDEX": EVERY,
    "FT.INFO": EVERY,
    "FT._LIST": EVERY,
    "FT.AGGREGATE": (MEMORYDB, NEW),
    "FT.ALIASADD": (MEMORYDB,),
    "FT.ALIASDEL": (MEMORYDB,),
    "FT.ALIASUPDATE": (MEMORYDB,),
    "FT._ALIASLIST": (MEMORYDB,),
    "FT.PROFILE": (MEMORYDB,),
    "FT.EXPLAIN": (MEMORYDB,),
    "FT.EXPLAINCLI": (MEMORYDB,),
    **dict.fromkeys(["FT.CONFIG", "FT.ALTER", "FT.TAGVALS", "FT.CURSOR", "FT.SUGADD", "FT.HYBRID", "FT.SYNUPDATE"], ()),
    **dict.fromkeys(["FT.DICTADD", "FT.SPELLCHECK", "FT._CREATEIFNX", "FT.DROP", "FT.ADD"], ()),
    "KEYS": VALKEYS,
    "MODULE": VALKEYS,
    "CONFIG": VALKEYS,
    "DEBUG": VALKEYS,
    "BGSAVE": VALKEYS,
    "MEMORY": EVERY,
    "HSETEX": (NEW,),
    "HEXPIRE": (NEW,),
    "COMMANDLOG": VALKEYS,
}


@pytest.mark.parametrize("profile", EVERY)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_profile_has_these_commands_and_no_others(clients, profile, name):
    arguments = {"KEYS": ["no:*"], "MODULE": ["LIST"], "FT._LIST": [], "FT._ALIASLIST": []}.get(name, ["HELP"])
    try:
        clients[profile].ask(name, *arguments)
        known = True
    except EngineError as error:
        known = "unknown command" not in str(error)
    assert known == (profile in COMMANDS[name])


@pytest.mark.parametrize("words", ["ACL SETUSER u on", "CLUSTER RESET", "SCRIPT SHOW 0", "SHUTDOWN", "CONFIG GET x"])
def test_memorydb_keeps_administration_for_itself(clients, words):
    assert "unknown command" in clients[MEMORYDB].refusal(*words.split())


# FT.CREATE

HNSW = ("VECTOR", "HNSW")
CREATES = [
    ("tag", ("s", "TAG", *("v", *VECTOR)), EVERY),
    ("tag with all options", ("s", "TAG", "SEPARATOR", ";", "CASESENSITIVE", "v", *VECTOR), EVERY),
    ("separator of two characters", ("s", "TAG", "SEPARATOR", ";;", "v", *VECTOR), ()),
    ("alias", ("long name", "AS", "s", "TAG", "v", *VECTOR), EVERY),
    ("text", ("t", "TEXT", "v", *VECTOR), (MEMORYDB, NEW)),
    ("text with weight", ("t", "TEXT", "WEIGHT", 2, "v", *VECTOR), ()),
    ("text without stems", ("t", "TEXT", "NOSTEM", "v", *VECTOR), ()),
    ("geo", ("g", "GEO", "v", *VECTOR), ()),
    ("geoshape", ("g", "GEOSHAPE", "v", *VECTOR), ()),
    ("sortable", ("x", "NUMERIC", "SORTABLE", "v", *VECTOR), (NEW,)),
    ("sortable tag", ("s", "TAG", "SORTABLE", "v", *VECTOR), (NEW,)),
    ("not indexed", ("x", "NUMERIC", "NOINDEX", "v", *VECTOR), ()),
    ("no vector", ("s", "TAG"), (MEMORYDB, NEW)),
    ("the same name twice", ("s", "TAG", "s", "NUMERIC", "v", *VECTOR), ()),
    ("flat", ("v", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", 2, "DISTANCE_METRIC", "L2"), EVERY),
    ("inner product", ("v", *HNSW, 6, "TYPE", "FLOAT32", "DIM", 2, "DISTANCE_METRIC", "IP"), EVERY),
    ("another metric", ("v", *HNSW, 6, "TYPE", "FLOAT32", "DIM", 2, "DISTANCE_METRIC", "HAMMING"), ()),
    ("float64", ("v", *HNSW, 6, "TYPE", "FLOAT64", "DIM", 2, "DISTANCE_METRIC", "L2"), ()),
    ("float16", ("v", *HNSW, 6, "TYPE", "FLOAT16", "DIM", 2, "DISTANCE_METRIC", "L2"), ()),
    ("no type", ("v", *HNSW, 4, "DIM", 2, "DISTANCE_METRIC", "L2"), ()),
    ("no dimension", ("v", *HNSW, 4, "TYPE", "FLOAT32", "DISTANCE_METRIC", "L2"), ()),
    ("no metric", ("v", *HNSW, 4, "TYPE", "FLOAT32", "DIM", 2), ()),
    ("no algorithm", ("v", "VECTOR", "SVS", 6, *VECTOR[3:]), ()),
    ("dimension 0", ("v", *HNSW, 6, "TYPE", "FLOAT32", "DIM", 0, "DISTANCE_METRIC", "L2"), ()),
    ("dimension 32767", ("v", *HNSW, 6, "TYPE", "FLOAT32", "DIM", 32767, "DISTANCE_METRIC", "L2"), EVERY),
    ("dimension 32768", ("v", *HNSW, 6, "TYPE", "FLOAT32", "DIM", 32768, "DISTANCE_METRIC", "L2"), (MEMORYDB, NEW)),
    ("dimension 32769", ("v", *HNSW, 6, "TYPE", "FLOAT32", "DIM", 32769, "DISTANCE_METRIC", "L2"), ()),
    ("M 512", ("v", *HNSW, 8, *VECTOR[3:], "M", 512), EVERY),
    ("M 513", ("v", *HNSW, 8, *VECTOR[3:], "M", 513), VALKEYS),
    ("EF_CONSTRUCTION 4096", ("v", *HNSW, 8, *VECTOR[3:], "EF_CONSTRUCTION", 4096), EVERY),
    ("EF_CONSTRUCTION 4097", ("v", *HNSW, 8, *VECTOR[3:], "EF_CONSTRUCTION", 4097), (NEW,)),
    ("EF_RUNTIME 4096", ("v", *HNSW, 8, *VECTOR[3:], "EF_RUNTIME", 4096), EVERY),
    ("EF_RUNTIME 4097", ("v", *HNSW, 8, *VECTOR[3:], "EF_RUNTIME", 4097), (NEW,)),
    ("INITIAL_CAP", ("v", *HNSW, 8, *VECTOR[3:], "INITIAL_CAP", 10), EVERY),
    ("EPSILON", ("v", *HNSW, 8, *VECTOR[3:], "EPSILON", 0.1), ()),
    ("M of a flat index", ("v", "VECTOR", "FLAT", 8, *VECTOR[3:], "M", 16), ()),
    ("a count that is too small", ("v", *HNSW, 4, *VECTOR[3:]), ()),
    ("a count that is odd", ("v", *HNSW, 5, *VECTOR[3:]), ()),
    ("50 fields", (*(word for n in range(49) for word in (f"f{n}", "TAG")), "v", *VECTOR), EVERY),
    ("51 fields", (*(word for n in range(50) for word in (f"f{n}", "TAG")), "v", *VECTOR), (NEW,)),
]


@pytest.mark.parametrize("profile", EVERY)
@pytest.mark.parametrize(("schema", "granted"), [row[1:] for row in CREATES], ids=[row[0] for row in CREATES])
def test_schemas(clients, profile, schema, granted):
    client = clients[profile]
    if profile in granted:
        assert client.create("schema", schema) == b"OK"
        client.ask("FT.DROPINDEX", "schema")
    else:
        assert client.refusal("FT.CREATE", "schema", "ON", "HASH", "PREFIX", 1, "schema:", "SCHEMA", *schema)
        assert b"schema" not in client.ask("FT._LIST")


HEADS = [
    ("on hash", ("i", "ON", "HASH", "PREFIX", 1, "p:"), EVERY),
    ("without on", ("i", "PREFIX", 1, "p:"), VALKEYS),
    ("without prefix", ("i", "ON", "HASH"), EVERY),
    ("two prefixes", ("i", "ON", "HASH", "PREFIX", 2, "p:", "q:"), EVERY),
    ("nine prefixes", ("i", "ON", "HASH", "PREFIX", 9, *"abcdefghi"), (MEMORYDB, OLD)),
    ("filter", ("i", "ON", "HASH", "PREFIX", 1, "p:", "FILTER", "@x>1"), ()),
    ("language", ("i", "ON", "HASH", "LANGUAGE", "english"), ()),
    ("stopwords", ("i", "ON", "HASH", "STOPWORDS", 0), ()),
    ("temporary", ("i", "ON", "HASH", "TEMPORARY", 10), ()),
    ("on a set", ("i", "ON", "SET"), ()),
    ("hash tag in the prefix", ("i", "ON", "HASH", "PREFIX", 1, "p:{a}:"), (MEMORYDB, NEW)),
    ("half a hash tag in the prefix", ("i", "ON", "HASH", "PREFIX", 1, "p:{a:"), (MEMORYDB,)),
    ("hash tag in the name", ("{i}", "ON", "HASH"), (MEMORYDB, NEW)),
]


@pytest.mark.parametrize("profile", EVERY)
@pytest.mark.parametrize(("head", "granted"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_what_stands_before_the_schema(clients, profile, head, granted):
    client = clients[profile]
    if profile in granted:
        assert client.ask("FT.CREATE", *head, "SCHEMA", *SCHEMA) == b"OK"
        client.ask("FT.DROPINDEX", head[0])
    else:
        client.refusal("FT.CREATE", *head, "SCHEMA", *SCHEMA)


@pytest.mark.parametrize(("profile", "limit"), [(MEMORYDB, 10), (OLD, 10)])
def test_the_eleventh_index_is_refused(client, profile, limit):
    one = client(profile)
    names = [f"{one.name}_{n}" for n in range(limit + 1)]
    for name in names[:limit]:
        one.create(name)
    assert str(limit) in one.refusal("FT.CREATE", names[limit], "ON", "HASH", "SCHEMA", *SCHEMA)
    assert "already exists" in one.refusal("FT.CREATE", names[0], "ON", "HASH", "SCHEMA", *SCHEMA)
    one.ask("FT.DROPINDEX", names[0])
    assert one.create(names[limit]) == b"OK"
    for name in names[1:]:
        one.ask("FT.DROPINDEX", name)


# FT.SEARCH

SEARCHES = [
    ("hybrid", (KNN, *ASKED), EVERY),
    ("everything", ("*=>[KNN 3 @v $q]", *ASKED), EVERY),
    ("everything in parentheses", ("(*)=>[KNN 3 @v $q]", *ASKED), ()),
    ("the usual score name", ("(@s:{ab})=>[KNN 3 @v $q]", "RETURN", 1, "__v_score", *ASKED), EVERY),
    ("ef_runtime", ("(@s:{ab})=>[KNN 3 @v $q EF_RUNTIME 64 AS score]", *ASKED), EVERY),
    ("ef_runtime beyond the limit", ("*=>[KNN 3 @v $q EF_RUNTIME 4097 AS score]", *ASKED), VALKEYS),
    ("k as a parameter", ("*=>[KNN $k @v $q AS score]", "PARAMS", 4, "k", 3, "q", floats(1, 0), *TAIL), EVERY),
    ("k of 10001", ("*=>[KNN 10001 @v $q AS score]", *ASKED), (MEMORYDB, OLD)),
    ("k of nothing", ("*=>[KNN 0 @v $q AS score]", *ASKED), ()),
    ("an attribute block", ("*=>[KNN 3 @v $q]=>{$EF_RUNTIME: 10}", *ASKED), ()),
    ("batches", ("*=>[KNN 3 @v $q HYBRID_POLICY ADHOC_BF]", *ASKED), ()),
    ("no parentheses", ("@s:{ab}=>[KNN 3 @v $q]", *ASKED), EVERY),
    ("two terms without parentheses", ("@s:{ab} @x:[0 3]=>[KNN 3 @v $q]", *ASKED), EVERY),
    ("and, or and groups", ("((@s:{ab | cd}) | (@x:[(1 Inf])) @x:[-inf +inf]=>[KNN 3 @v $q]", *ASKED), EVERY),
    ("negation", ("(-@s:{zz})=>[KNN 3 @v $q]", *ASKED), VALKEYS),
    ("prefix", ("(@s:{ab*})=>[KNN 3 @v $q]", *ASKED), VALKEYS),
    ("prefix of one character", ("(@s:{a*})=>[KNN 3 @v $q]", *ASKED), (OLD,)),
    ("unescaped punctuation", ("(@s:{a-b})=>[KNN 3 @v $q]", *ASKED), VALKEYS),
    ("escaped punctuation", (r"(@s:{a\-b\:c\ d})=>[KNN 3 @v $q]", *ASKED), EVERY),
    ("tag parameter", ("(@s:{$t})=>[KNN 3 @v $q]", "PARAMS", 4, "t", "ab", "q", floats(1, 0), *TAIL), ()),
    ("an empty tag", ("(@s:{})=>[KNN 3 @v $q]", *ASKED), ()),
    ("an open tag", ("(@s:{ab)=>[KNN 3 @v $q]", *ASKED), ()),
    ("an open parenthesis", ("(@s:{ab}=>[KNN 3 @v $q]", *ASKED), ()),
    ("words", ("(hello world)=>[KNN 3 @v $q]", *ASKED), ()),
    ("a field's words", ("(@s:ab)=>[KNN 3 @v $q]", *ASKED), ()),
    ("optional term", ("(~@s:{ab})=>[KNN 3 @v $q]", *ASKED), ()),
    ("one bound", ("(@x:[3])=>[KNN 3 @v $q]", *ASKED), ()),
    ("comparison", ("(@x>3)=>[KNN 3 @v $q]", *ASKED), ()),
    ("unknown field in the filter", ("(@nope:{ab})=>[KNN 3 @v $q]", *ASKED), ()),
    ("unknown vector field", ("*=>[KNN 3 @nope $q]", *ASKED), ()),
    ("a tag as a number", ("(@s:[1 2])=>[KNN 3 @v $q]", *ASKED), ()),
    ("a number as a tag", ("(@x:{1})=>[KNN 3 @v $q]", *ASKED), ()),
    ("a tag as a vector", ("*=>[KNN 3 @s $q]", *ASKED), ()),
    ("range", ("@v:[VECTOR_RANGE 0.5 $q]=>{$yield_distance_as: d; $epsilon: 0.01}", *ASKED), (MEMORYDB,)),
    ("range without a name", ("@v:[VECTOR_RANGE $r $q]", "PARAMS", 4, "r", 1, "q", floats(1, 0), *TAIL), (MEMORYDB,)),
    ("range with another attribute", ("@v:[VECTOR_RANGE 1 $q]=>{$weight: 2}", *ASKED), ()),
    ("filter only", ("@s:{ab}", *TAIL), (MEMORYDB, NEW)),
    ("number only", ("@x:[1 2]", *TAIL), (MEMORYDB, NEW)),
    ("a star only", ("*", *TAIL), (MEMORYDB,)),
    ("return declared", (KNN, "RETURN", 3, "score", "x", "s", *ASKED), EVERY),
    ("return renamed", (KNN, "RETURN", 4, "x", "AS", "y", "score", *ASKED), EVERY),
    ("return undeclared", (KNN, "RETURN", 2, "score", "b", *ASKED), VALKEYS),
    ("return nothing", (KNN, "RETURN", 0, *ASKED), VALKEYS),
    ("nocontent", (KNN, "NOCONTENT", *ASKED), VALKEYS),
    ("count", (KNN, "COUNT", *ASKED[:-5], "DIALECT", 2), (MEMORYDB,)),
    ("sortby the score", (KNN, "SORTBY", "score", *ASKED), ()),
    ("sortby a field", (KNN, "SORTBY", "x", "DESC", *ASKED), (NEW,)),
    ("withscores", (KNN, "WITHSCORES", *ASKED), ()),
    ("withsortkeys", (KNN, "WITHSORTKEYS", *ASKED), ()),
    ("inkeys", (KNN, "INKEYS", 1, "k", *ASKED), ()),
    ("infields", (KNN, "INFIELDS", 1, "s", *ASKED), ()),
    ("slop", (KNN, "SLOP", 1, *ASKED), ()),
    ("language", (KNN, "LANGUAGE", "english", *ASKED), ()),
    ("verbatim", (KNN, "VERBATIM", *ASKED), (NEW,)),
    ("localonly", (KNN, "LOCALONLY", *ASKED), VALKEYS),
    ("timeout 10000", (KNN, "TIMEOUT", 10000, *ASKED), EVERY),
    ("timeout 10001", (KNN, "TIMEOUT", 10001, *ASKED), VALKEYS),
    ("timeout 60001", (KNN, "TIMEOUT", 60001, *ASKED), ()),
    ("no dialect", (KNN, *ASKED[:-2]), EVERY),
    ("dialect 1", (KNN, *ASKED[:-2], "DIALECT", 1), ()),
    ("dialect 3", (KNN, *ASKED[:-2], "DIALECT", 3), VALKEYS),
    ("dialect 5", (KNN, *ASKED[:-2], "DIALECT", 5), ()),
    ("unused parameter", (KNN, "PARAMS", 4, "un", 1, "q", floats(1, 0), *TAIL), (MEMORYDB,)),
    ("missing parameter", (KNN, "PARAMS", 2, "p", floats(1, 0), *TAIL), ()),
    ("odd parameters", (KNN, "PARAMS", 3, "q", floats(1, 0), "p", *TAIL), ()),
    ("wrong blob size", (KNN, "PARAMS", 2, "q", floats(1, 0, 0), *TAIL), ()),
    ("limit of one number", (KNN, *ASKED[:-5], "LIMIT", 3), ()),
    ("negative limit", (KNN, *ASKED[:-5], "LIMIT", -1, 3), ()),
]


@pytest.mark.parametrize("profile", EVERY)
@pytest.mark.parametrize(("arguments", "granted"), [row[1:] for row in SEARCHES], ids=[row[0] for row in SEARCHES])
def test_searches(clients, profile, arguments, granted):
    client = clients[profile]
    if profile in granted:
        assert isinstance(client.ask("FT.SEARCH", client.name, *arguments)[0], int)
    else:
        client.refusal("FT.SEARCH", client.name, *arguments)


@pytest.mark.parametrize("profile", EVERY)
def test_rows_come_nearest_first_with_their_fields(clients, profile):
    client = clients[profile]
    asked = ("RETURN", 2, "score", "x", *ASKED)
    total, *rows = client.ask("FT.SEARCH", client.name, "(@x:[1 Inf])=>[KNN 3 @v $q AS score]", *asked)
    assert total == 3
    assert rows[0] == f"{client.name}:3".encode()
    assert [row[1::2] for row in rows[1::2]] == [[b"0", b"3"], [b"0.292893230915", b"2"], [b"0.552786409855", b"1"]]
    assert client.found("PARAMS", 2, "q", floats(1, 0), "LIMIT", 1, 1) == [2]
    assert len(client.ask("FT.SEARCH", client.name, "*=>[KNN 3 @v $q]", *ASKED)[2]) == 10  # all fields and the score


@pytest.mark.parametrize(("profile", "found"), [(OLD, 0), (NEW, 1)])
def test_a_star_in_a_tag_is_a_letter_or_a_prefix(clients, profile, found):
    client = clients[profile]
    assert bool(client.ask("FT.SEARCH", client.name, "(@s:{ab*})=>[KNN 3 @v $q]", *ASKED)[0]) == found


def test_text_is_carried_and_returned_but_not_searched(client):
    one = client()
    one.create(schema=("t", "TEXT", *SCHEMA))
    one.ask("HSET", f"{one.name}:0", "t", "any blob", "s", "ab", "v", floats(1, 0))
    reply = one.ask("FT.SEARCH", one.name, KNN, "RETURN", 1, "t", *ASKED)
    assert reply[2] == [b"t", b"any blob"]
    one.refusal("FT.SEARCH", one.name, "@t:blob", *TAIL)
    one.ask("FT.DROPINDEX", one.name)


# FT.AGGREGATE, aliases and the rest

AGGREGATES = [
    ("all stages", ("*", "LOAD", 1, "x", "APPLY", "@x*2", "AS", "y", "FILTER", "@y>0", "SORTBY", 2, "@y", "ASC"), True),
    ("groups", ("*", "GROUPBY", 1, "@s", "REDUCE", "COUNT", 0, "AS", "n", "LIMIT", 0, 5, "DIALECT", 2), True),
    ("load all", ("*", "LOAD", "*"), True),
    ("unknown reducer", ("*", "GROUPBY", 1, "@s", "REDUCE", "HLL", 1, "@x"), False),
    ("33 stages", ("*", *("LIMIT", 0, 1) * 33), False),
    ("17 groups", ("*", "GROUPBY", 17, *(f"@f{n}" for n in range(17))), False),
    ("1025 fields", ("*", "LOAD", 1025, *(f"f{n}" for n in range(1025))), False),
    ("cursor", ("*", "WITHCURSOR"), False),
    ("timeout", ("*", "TIMEOUT", 10001), False),
]


@pytest.mark.parametrize(("arguments", "granted"), [row[1:] for row in AGGREGATES], ids=[row[0] for row in AGGREGATES])
def test_aggregates_on_memorydb(clients, arguments, granted):
    client = clients[MEMORYDB]
    if granted:
        assert isinstance(client.ask("FT.AGGREGATE", client.name, *arguments), list)
    else:
        client.refusal("FT.AGGREGATE", client.name, *arguments)


def test_aliases_lead_to_an_index_and_can_be_moved(client):
    one = client().fill()
    other = client(before=one.guard).fill(1)
    alias = f"{one.name}_alias"
    assert one.ask("FT.ALIASADD", alias, one.name) == b"OK"
    assert one.ask("FT.SEARCH", alias, KNN, *ASKED)[0] == 3
    assert one.ask("FT._ALIASLIST") == [alias.encode(), one.name.encode()]
    assert one.ask("FT.ALIASUPDATE", alias, other.name) == b"OK"
    assert one.ask("FT.SEARCH", alias, KNN, *ASKED)[0] == 1
    assert one.ask("FT.ALIASDEL", alias) == b"OK"
    assert "not found" in one.refusal("FT.SEARCH", alias, KNN, *ASKED)
    assert "not found" in one.refusal("FT.ALIASADD", alias, "nope")


def test_explain_and_profile_know_the_same_language(clients):
    client = clients[MEMORYDB]
    assert client.ask("FT.EXPLAIN", client.name, "@s:{ab}")
    assert client.ask("FT.PROFILE", client.name, "SEARCH", "QUERY", "@s:{ab}")[0][0] == 4
    client.refusal("FT.EXPLAIN", client.name, "-@s:{ab}")


TEXTS = {
    MEMORYDB: ("Index {} already exists", "Index not found: {}"),
    OLD: ("Index {} already exists.", "Index with name '{}' not found"),
    NEW: ("Index {} in database 0 already exists.", "Index with name '{}' not found in database 0"),
}


@pytest.mark.parametrize("profile", EVERY)
def test_errors_are_worded_as_the_profile_words_them(clients, profile):
    client = clients[profile]
    exists, unknown = TEXTS[profile]
    assert exists.format(client.name) in client.refusal("FT.CREATE", client.name, "ON", "HASH", "SCHEMA", *SCHEMA)
    for asked in (("FT.SEARCH", "nope", KNN, *ASKED), ("FT.INFO", "nope"), ("FT.DROPINDEX", "nope")):
        assert unknown.format("nope") in client.refusal(*asked)


def test_a_test_may_word_errors_itself(client):
    one = client()
    one.guard.texts["unknown_index"] = "ERR Unknown index name {index}!"
    assert one.refusal("FT.INFO", "nope") == "ERR Unknown index name nope!"


@pytest.mark.parametrize("profile", EVERY)
def test_dropping_an_index_leaves_the_documents(client, profile):
    one = client(profile).fill()
    one.refusal("FT.DROPINDEX", one.name, "DD")
    assert one.name.encode() in one.ask("FT._LIST")
    assert one.ask("FT.DROPINDEX", one.name) == b"OK"
    assert one.ask("HGET", f"{one.name}:0", "s") == b"ab"
    assert one.name.encode() not in one.ask("FT._LIST")


def named(flat):
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


@pytest.mark.parametrize("shape", ["docs", "client"])
def test_memorydb_tells_of_an_index_in_its_own_names(client, shape):
    one = client().fill()
    one.guard.info_shape = shape
    told = named(one.ask("FT.INFO", one.name))
    assert told["index_name"] == one.name.encode()
    assert told["key_prefixes"] == [f"{one.name}:".encode()]
    fields = {field["identifier"]: field for field in map(named, told["fields"])}
    assert fields[b"s"]["type"] == b"TAG"
    vector = named(fields[b"v"]["vector_params"])
    assert (vector["dimension"], vector["distance_metric"], vector["maximum_edges"]) == (2, b"COSINE", 16)
    one.guard.backfilling = True
    later = named(one.ask("FT.INFO", one.name))
    state = {"docs": "backfill_status", "client": "index_status"}[shape]
    assert (told[state], later[state]) == ((b"Completed", b"InProgres"), (b"AVAILABLE", b"BACKFILLING"))[
        shape == "client"
    ]
    assert "attributes" not in told


@pytest.mark.parametrize(("profile", "number"), [(OLD, bytes), (NEW, int)])
def test_valkey_search_tells_of_an_index_in_its_own_names(client, profile, number):
    one = client(profile).fill()
    told = named(one.ask("FT.INFO", one.name))
    assert named(told["index_definition"])["prefixes"] == [f"{one.name}:".encode()]
    vector = named(told["attributes"][2])
    index = named(vector["index"])
    assert (vector["identifier"], int(index["dimensions"]), index["distance_metric"]) == (b"v", 2, b"COSINE")
    assert named(index["algorithm"])["name"] == b"HNSW"
    assert isinstance(told["num_docs"], number)
    assert told["state"] == b"ready"
    one.guard.backfilling = {one.name}
    later = named(one.ask("FT.INFO", one.name))
    assert (later["backfill_in_progress"], later["state"]) == (b"1", b"backfill_in_progress")
    assert one.found() == [3, 2, 1]  # it answers all the same


@pytest.mark.parametrize("profile", EVERY)
def test_an_index_made_elsewhere_is_known_too(client, profile, engine):
    maker = client(profile).fill()
    one = Client(client(profile).guard, maker.name)
    assert one.found() == [3, 2, 1]
    assert one.ask("FT.INFO", one.name) == maker.ask("FT.INFO", one.name)
    one.refusal("FT.SEARCH", one.name, "(@b:{blob})=>[KNN 1 @v $q]", *ASKED)
    one.close()
    engine.cli("FT.DROPINDEX", one.name)
    assert "not found" in maker.refusal("FT.SEARCH", maker.name, KNN, *ASKED)


@pytest.mark.parametrize("profile", EVERY)
def test_nothing_gives_the_real_engine_away(clients, profile):
    client = clients[profile]
    everything = client.ask("INFO", "everything").decode()
    assert "search_redis_version" not in everything
    assert "search_number_of_indexes:1" in everything
    assert "valkey_version:9.1" not in everything
    assert ("module:name=search,ver=10" in everything) == (profile != MEMORYDB)
    assert "ver=21005" not in everything
    assert "used_memory:" in client.ask("INFO", "memory").decode()
    assert client.ask("INFO", "search").startswith(b"# search\r\n")


@pytest.mark.parametrize("profile", EVERY)
def test_command_tells_of_the_profiles_commands_only(clients, profile):
    names = ["FT.SEARCH", "FT.AGGREGATE", "FT.SYNUPDATE", "HSETEX", "GET", "FT.NOPE"]
    told = clients[profile].ask("COMMAND", "INFO", *names)
    assert [one is not None for one in told] == [True, profile != OLD, False, profile == NEW, True, False]
    assert told[0][3:7] == [0, 0, 0, [b"@search"]]
    listed = {one[0].decode().upper() for one in clients[profile].ask("COMMAND")}
    assert {name for name in listed if name.startswith("FT.")} == {
        name for name in COMMANDS if name.startswith("FT.") and profile in COMMANDS[name]
    } - {"FT._ALIASLIST"}


# Transactions, scripts, protocol


@pytest.mark.parametrize("profile", EVERY)
def test_search_is_refused_inside_a_transaction_and_spoils_it(client, profile):
    one = client(profile).fill()
    one.ask("MULTI")
    one.ask("SET", f"{one.name}:z", "1")
    one.refusal("FT.SEARCH", one.name, KNN, *ASKED)
    assert "EXECABORT" in one.refusal("EXEC")
    assert one.ask("EXISTS", f"{one.name}:z") == 0
    one.ask("MULTI")
    one.ask("HSET", f"{one.name}:0", "x", 9)
    assert one.ask("EXEC") == [0]
    one.ask("MULTI")
    one.refusal("FT._LIST")
    assert one.ask("DISCARD") == b"OK"
    assert one.found() == [3, 2, 1]


def test_scripts_may_not_call_what_the_profile_lacks(clients):
    client = clients[MEMORYDB]
    assert "FT.SEARCH" in client.refusal("EVAL", "return redis.call('FT.SEARCH', 'i', '*')", 0)
    assert "HEXPIRE" in client.refusal("EVAL", "return redis.call('HEXPIRE', KEYS[1], 1)", 1, "k")
    assert "FT._LIST" in client.refusal("SCRIPT", "LOAD", 'return redis.pcall("FT._LIST")')
    assert client.ask("EVAL", "return redis.call('PING')", 0) == b"PONG"


@pytest.mark.parametrize("profile", EVERY)
def test_replies_stay_in_the_second_protocol(client, profile):
    one = client(profile)
    assert "NOPROTO" in one.refusal("HELLO", 3)
    assert named(one.ask("HELLO", 2, "SETNAME", "me"))["proto"] == 2
    one.guard.hello3 = "resp2"
    assert named(one.ask("HELLO", 3))["proto"] == 2
    assert one.ask("CLIENT", "GETNAME") == b"me"


@pytest.mark.parametrize("words", ["SUBSCRIBE c", "MONITOR", "CLIENT REPLY OFF", "CLIENT TRACKING ON"])
def test_what_answers_unasked_is_not_carried(clients, words):
    clients[NEW].refusal(*words.split())
    assert clients[NEW].ask("PING") == b"PONG"


def test_the_url_is_what_a_user_would_write(guards):
    assert guards[MEMORYDB].url == f"memorydb://127.0.0.1:{guards[MEMORYDB].port}?tls=false"
    assert guards[OLD].url == f"valkey://127.0.0.1:{guards[OLD].port}"
