"""What is checked when a cache is opened: rights, whose cache it is, the index; and what is said where it doesn't fit."""

import asyncio
import re
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest

from engines.guard import Guard
from yamabiko.errors import ConfigurationError, StoreMismatch, StoreUnavailable
from yamabiko.stores.memorydb import opening
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.connection import Connection
from yamabiko.stores.memorydb.dialect import PROFILES
from yamabiko.stores.memorydb.failures import ACCESS_STRING, access_string
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.opening import prepare, recorded

EVERY_GUARD = ["memorydb", "valkey-search-1.0", "valkey-search-1.2"]


@asynccontextmanager
async def connected(url):
    connection = await Connection.open(Address.parse(url), timeout_seconds=5)
    try:
        yield connection
    finally:
        await connection.close()


def opened(url, *, embedder="e", dim=8, beside=False):
    """The profile that the server is found to speak, after a connection of its own."""

    async def run():
        address = Address.parse(url)
        async with connected(url) as connection:
            layout = Layout(name=address.name, embedder=embedder, dim=dim)
            return await prepare(connection, layout, embedder=embedder, dim=dim, beside=beside)

    return asyncio.run(run())


@pytest.fixture
def name(request):
    """A cache name of this test's own."""
    return "o-" + re.sub(r"[^a-z0-9]", "", request.node.name.lower().replace("test_", ""))[-28:]


@pytest.fixture(params=EVERY_GUARD)
def guard(request, engine):
    for index in engine.cli("FT._LIST"):  # MemoryDB has ten at most
        engine.cli("FT.DROPINDEX", index.decode())
    with Guard(engine, profile=request.param) as running:
        yield running


def url(guard, name, more=""):
    return f"{guard.url}{'&' if '?' in guard.url else '?'}name={name}{more}"


def test_the_index_is_made_once_and_found_from_then_on(guard, name):
    with guard.watching() as seen:
        assert opened(url(guard, name)) == guard.profile.name
    assert seen.names.count("FT.CREATE") == 1
    with guard.watching() as seen:
        assert opened(url(guard, name)) == guard.profile.name
    assert "FT.CREATE" not in seen.names


def test_redisearch_is_found_out(engine, name):
    assert opened(f"redis://127.0.0.1:{engine.port}?name={name}") == "redisearch"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_address_overrides_what_is_found(engine, name, profile):
    assert opened(f"redis://127.0.0.1:{engine.port}?name={name}&profile={profile}") == profile


def test_many_gateways_may_open_a_new_cache_at_once(guard, name):
    async def run():
        address = url(guard, name)
        layout = Layout(name=name, embedder="e", dim=8)

        async def gateway():
            async with connected(address) as connection:
                return await prepare(connection, layout, embedder="e", dim=8)

        return await asyncio.gather(*(gateway() for _ in range(10)))

    assert set(asyncio.run(run())) == {guard.profile.name}


def test_a_cache_for_another_embedder_is_refused_with_what_to_do(guard, name):
    opened(url(guard, name))
    for other in ({"embedder": "other"}, {"dim": 16}, {"embedder": "none", "dim": 1}):
        with pytest.raises(StoreMismatch, match=r"for the embedder 'e' with dim 8, .*name="):
            opened(url(guard, name), **other)
    opened(url(guard, name), embedder="other", beside=True)
    opened(url(guard, name))


def test_whose_a_cache_is_can_be_asked_without_claiming_it(engine, name):
    layout = Layout(name=name, embedder="e", dim=8)

    async def run():
        async with connected(f"redis://127.0.0.1:{engine.port}?name={name}") as connection:
            assert await recorded(connection, layout) is None
            await prepare(connection, layout, embedder="e", dim=8, beside=True)
            assert await recorded(connection, layout) is None
            await prepare(connection, layout, embedder="e", dim=8)
            assert await recorded(connection, layout) == ("e", 8)

    asyncio.run(run())
    engine.cli("HSET", layout.meta, "format", 99)
    with pytest.raises(StoreMismatch, match=r"format 99, .*upgrade"):
        opened(f"redis://127.0.0.1:{engine.port}?name={name}")


def test_of_several_embedders_at_once_one_gets_the_cache(engine, name):
    async def run():
        async def gateway(number):
            layout = Layout(name=name, embedder=f"e{number}", dim=8)
            async with connected(f"redis://127.0.0.1:{engine.port}?name={name}") as connection:
                await prepare(connection, layout, embedder=f"e{number}", dim=8)

        return await asyncio.gather(*(gateway(number) for number in range(8)), return_exceptions=True)

    outcomes = asyncio.run(run())
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, StoreMismatch) for outcome in outcomes) == 7


def test_without_an_embedder_no_search_is_needed(make_engine):
    engine = make_engine(search=False)
    address = f"redis://127.0.0.1:{engine.port}"
    assert opened(address, embedder="none", dim=1)
    with pytest.raises(ConfigurationError, match="search-enabled=yes"):
        opened(f"{address}?name=other")


INDEX = "FT.CREATE {index} ON HASH PREFIX 1 {prefix} SCHEMA {scope} TAG {life} NUMERIC {vector} VECTOR HNSW 6 TYPE FLOAT32 DIM {dim} DISTANCE_METRIC {metric}"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"dim": 16}, "dim 16, not 8"),
        ({"metric": "L2"}, "metric is L2"),
        ({"prefix": "other:"}, "prefixes are other:"),
        ({"scope": "another"}, "no TAG field"),
        ({"vector": "another"}, "no VECTOR field"),
    ],
)
def test_an_index_that_was_made_for_something_else_is_refused(guard, engine, name, changed, says):
    layout = Layout(name=name, embedder="e", dim=8)
    right = {"index": layout.index, "prefix": layout.prefix, "scope": layout.scope_field, "life": "x"}
    right |= {"vector": layout.vector_field, "dim": 8, "metric": "COSINE"}
    with guard_wire(guard) as wire:
        wire.ask(*INDEX.format(**(right | changed)).split())
    with pytest.raises(StoreMismatch, match=f"{says}.*FT.DROPINDEX"):
        opened(url(guard, name))


def guard_wire(guard):
    from engines.resp import Wire

    return Wire("127.0.0.1", guard.port)


def test_an_eleventh_index_is_refused_with_what_to_do(engine, name):
    for index in engine.cli("FT._LIST"):
        engine.cli("FT.DROPINDEX", index.decode())
    with Guard(engine, profile="memorydb") as guard:
        for number in range(10):
            opened(url(guard, f"{name[:28]}-{number}"))
        with pytest.raises(ConfigurationError, match="10 indexes at most"):
            opened(url(guard, name))
    for index in engine.cli("FT._LIST"):
        engine.cli("FT.DROPINDEX", index.decode())


def test_vectors_too_large_for_the_engine_are_refused_before_anything_is_made(guard, name):
    with guard.watching() as seen, pytest.raises(ConfigurationError, match=f"32769 .*{guard.profile.max_dim}"):
        opened(url(guard, name), dim=32769)
    assert "FT.CREATE" not in seen.names


def test_an_index_that_is_being_built_is_no_obstacle(guard, name):
    opened(url(guard, name))
    guard.backfilling = True
    assert opened(url(guard, name)) == guard.profile.name


def test_a_server_that_is_loading_is_a_passing_failure(guard, name):
    guard.loading = True
    with pytest.raises(StoreUnavailable):
        opened(url(guard, name))


@pytest.mark.parametrize("forbidden", ["FT.INFO", "INFO", "FT._LIST", "MODULE", "CLUSTER", "COMMAND", "CLIENT"])
def test_no_command_that_access_strings_often_forbid_is_indispensable(guard, name, forbidden):
    guard.fail(forbidden, f"NOPERM User app has no permissions to run the '{forbidden.lower()}' command", times=None)
    assert opened(url(guard, name)) in PROFILES
    assert opened(url(guard, name)) in PROFILES


# Rights, on the real server: RediSearch has no category @search.

REDISEARCH_RIGHTS = "+ft.create +ft.info +ft.search"


def rights(name, without=()):
    words = access_string(name).replace("+@search", REDISEARCH_RIGHTS).split()
    return " ".join(word for word in words if word not in without)


@pytest.fixture(scope="module")
def guarded_engine(tmp_path_factory):
    from engines.valkey import Valkey

    with Valkey(tmp_path_factory.mktemp("rights"), users={"default": "off"}) as running:
        yield running


def as_user(engine, name, access):
    engine.cli("ACL", "SETUSER", "app", "reset", ">secret", *access.split())
    return f"redis://app:secret@127.0.0.1:{engine.port}?name={name}"


def test_the_access_string_is_enough(guarded_engine, name):
    assert ACCESS_STRING.startswith("on ~NAME:*")
    assert opened(as_user(guarded_engine, name, rights(name))) == "redisearch"
    assert guarded_engine.cli("ACL", "LOG") == []


@pytest.mark.parametrize("right", ["+info", "+cluster|slots", "+ft.info"])
def test_some_rights_are_a_convenience(guarded_engine, name, right):
    assert opened(as_user(guarded_engine, name, rights(name, [right]))) in PROFILES
    assert opened(as_user(guarded_engine, name, rights(name, [right]))) in PROFILES


@pytest.mark.parametrize(
    ("right", "named"),
    [
        ("+@read", ".*"),
        ("+@write", ".*"),
        ("+eval", "eval"),
        ("+evalsha", "evalsha"),
        ("+time", ".*"),
        ("+ft.create", "ft.create"),
        ("~{name}:*", "key"),
    ],
)
def test_a_right_that_is_missing_is_named_with_what_would_do(guarded_engine, name, right, named):
    access = rights(name, [right.format(name=name)])
    with pytest.raises(ConfigurationError, match=f"(?i){named}.*at least on ~{name}:") as raised:
        opened(as_user(guarded_engine, name, access))
    assert "secret" not in str(raised.value)


def test_a_user_of_one_cache_gets_no_other(guarded_engine, name):
    with pytest.raises(ConfigurationError, match="at least on ~other:"):
        opened(as_user(guarded_engine, name, rights(name)).replace(f"name={name}", "name=other"))


def test_every_command_of_the_scripts_is_tried():
    scripts = [script.read_text() for script in files("yamabiko.stores.memorydb").joinpath("lua").iterdir()]
    used = {command for script in scripts for command in re.findall(r"call\(\s*'(\w+)'", script)}
    tried = set(re.findall(r"try\('(\w+)'", opening._TRY))
    assert used
    assert used - tried == set()
