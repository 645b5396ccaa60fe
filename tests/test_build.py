"""From settings to a cache: what a URL says, which part is missing, and what a store was made for."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yamabiko import open_cache
from yamabiko.build import locate, recorded_embedder
from yamabiko.errors import ConfigurationError, StoreError, StoreMismatch, YamabikoError
from yamabiko.settings import Settings
from yamabiko.stores.sqlite import SqliteStore

PASSWORD = "hunter2" + "x" * 9


def located(url, **options):
    return locate(Settings.load(arguments={"url": url, **options}))


def test_a_url_says_both_where_a_server_is_and_how_it_is_used():
    place = located("memorydb://ann:p%26w@db.example:7000?name=shop&timeout_seconds=250ms&connections=3&cluster=true")
    address = place.address
    assert (address.host, address.port, address.user, address.password) == ("db.example", 7000, "ann", "p&w")
    assert (address.name, address.connections, address.cluster, address.tls) == ("shop", 3, True, True)
    assert place.settings.timeout_seconds == 0.25
    assert str(place) == "named shop at db.example:7000"
    assert str(located("redis://[::1]")) == "named yamabiko at [::1]:6379"


def test_a_setting_in_the_url_overrides_the_one_beside_it():
    for url in ("sqlite:///x.db", "memory://", "valkey://h"):
        beside = {"store.timeout_seconds": 3.0, "store.write_timeout_seconds": 4.0}
        settings = located(f"{url}?timeout_seconds=2", **beside).settings
        assert (settings.timeout_seconds, settings.write_timeout_seconds) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h", "sqlite://, memory://, memorydb://, valkey://, valkeys://, redis://, rediss://"),
        ("cache.db", "a URL without a scheme"),
        ("valkey://h?max_bytes=1GiB", "maxmemory-policy"),
        ("valkey://h?name=a&durability=full", "appendonly"),
        ("memorydb://h?index_bytes=1GiB", "maxmemory"),
        ("rediss://h?accelerator=faiss", "its own index"),
        ("valkey://h?nmae=x", "the nearest is name"),
        ("valkey://h?timeout_seconds=soon", "store.timeout_seconds"),
        ("sqlite:///x.db?name=x", "there is no setting store.name"),
        (f"memorydb://u:{PASSWORD}@[::1", "percent-encoded"),
        (f"memorydb://u:{PASSWORD}@h:port", "percent-encoded"),
        (f"memorydb://u:{PASSWORD}@h?max_bytes=1", "maxmemory"),
    ],
)
def test_what_a_url_can_not_mean_is_refused_with_what_would_do(url, words):
    async def work():
        await open_cache(url, embedder="none")

    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(work())
    assert words in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_settings_of_a_file_in_the_environment_are_no_hindrance_to_a_server():
    assert located("valkey://h", **{"store.max_bytes": 1000}).settings.max_bytes == 1000


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("valkey://127.0.0.1:1", "redis", "memorydb"),
        ("memorydb://ann@clustercfg.c.abc123.memorydb.eu-west-1.amazonaws.com?auth=iam", "botocore", "aws"),
    ],
)
def test_a_part_that_is_not_installed_is_named_with_its_install_command(url, module, extra):
    program = f"""
import asyncio, sys
sys.modules[{module!r}] = None
import yamabiko
async def work():
    try:
        await yamabiko.open_cache({url!r}, embedder="none")
    except yamabiko.errors.ConfigurationError as error:
        print(type(error).__name__, error)
asyncio.run(work())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("MissingExtra ")
    assert ran.stdout.endswith(f"pip install 'yamabiko[{extra}]'\n")


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("clustercfg.shop.abc123.memorydb.eu-west-1.amazonaws.com?auth=iam", "memorydb"),
        ("shop.abc123.clustercfg.euw1.cache.amazonaws.com?auth=iam&region=eu-west-1&cluster_name=shop", "elasticache"),
    ],
)
def test_iam_signs_for_the_service_that_the_endpoint_belongs_to(host, service):
    wanted = f"service={service!r}, cluster='shop', user='ann', region='eu-west-1'"
    assert wanted in repr(located(f"memorydb://ann@{host}")._credentials)
    assert located("memorydb://db.example")._credentials is None


def recorded(url):
    return asyncio.run(recorded_embedder(Settings(url=url)))


def test_a_file_tells_what_it_was_made_for_and_none_is_made(tmp_path):
    path = tmp_path / "c.db"
    assert recorded(f"sqlite:///{path}") is None
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"")
    assert recorded(f"sqlite:///{path}") is None

    async def make():
        await (await SqliteStore.open(path, embedder="日本", dim=7)).close()

    asyncio.run(make())
    assert recorded(f"sqlite:///{path}") == ("日本", 7)
    assert recorded("memory://") is None


def damaged(path):
    path.write_bytes(b"not a database, and long enough to be looked at" * 99)


def somebody_elses(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs(x)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [(damaged, StoreError, "damaged"), (somebody_elses, StoreMismatch, "another application")],
)
def test_a_file_that_tells_nothing_says_why(tmp_path, spoil, error, words):
    path = tmp_path / "c.db"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(error, match=words):
        recorded(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_server_tells_what_a_cache_was_made_for(engine):
    url = f"valkey://127.0.0.1:{engine.port}?name=t{secrets.token_hex(8)}"
    assert recorded(url) is None

    async def make():
        await (await locate(Settings(url=url)).open("日本", 7)).close()

    asyncio.run(make())
    assert recorded(url) == ("日本", 7)


def test_a_deadline_in_the_url_holds(make_engine):
    engine = make_engine()

    async def work():
        async with open_cache(f"valkey://127.0.0.1:{engine.port}?timeout_seconds=0.2", embedder="none") as cache:
            engine.pause()
            started = time.monotonic()
            outcome = await cache.lookup("a?")
            took = time.monotonic() - started
            engine.resume()
            return outcome.reason, took

    reason, took = asyncio.run(work())
    assert reason == "store_unavailable"
    assert took < 3.0  # the default is 5


def test_nothing_is_made_when_the_embedder_is_missing(tmp_path):
    async def work():
        await open_cache(f"sqlite:///{tmp_path}/c.db", settings=None, prices=None, embedder="directory")

    with pytest.raises(YamabikoError):
        asyncio.run(work())
    assert not Path(tmp_path / "c.db").exists()
