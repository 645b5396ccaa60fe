"""The store on a server keeps the promises of every store: on a real engine, through the guard, in every dialect."""

from __future__ import annotations

import itertools

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from engines.guard import Guard
from test_stores_machine import FEW, StoreMachine
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.testing import DurableContract

_numbers = itertools.count()


def fresh_name():
    """A cache that nobody else has on the session's engines."""
    return f"promise-{next(_numbers)}"


class Promises(DurableContract):
    """Each folder that pytest gives stands for a cache of its own."""

    @pytest.fixture(autouse=True)
    def _served(self, guards):
        self.guard = guards[self.profile]
        self.layouts = set()
        yield
        for layout in self.layouts:  # an engine has ten indexes, and here two hundred tests
            guard_command(self.guard, "FT.DROPINDEX", layout.index)

    async def open(self, tmp_path, name="cache", embedder="fake", dim=None, **_):
        known = tmp_path / f"{name}.name"
        if not known.exists():
            known.write_text(fresh_name())
            self.layouts.add(Layout(name=known.read_text(), embedder="fake", dim=self.dim))
        return await open_behind(self.guard, known.read_text(), embedder=embedder, dim=dim or self.dim)


async def open_behind(guard, name, *, embedder="fake", dim=8, options=""):
    between = "&" if "?" in guard.url else "?"
    address = Address.parse(f"{guard.url}{between}name={name}{options}")
    return await MemoryDBStore.open(address, embedder=embedder, dim=dim)


def guard_command(guard, *arguments):
    """One command through the guard, so that it knows of it."""
    with redis.Redis(port=guard.port, protocol=2) as client:
        return client.execute_command(*arguments)


@pytest.fixture(scope="module")
def guards(engine, cluster_engine):
    """One for each dialect; MemoryDB is always in cluster mode."""
    with (
        Guard(cluster_engine, profile="memorydb") as memorydb,
        Guard(engine, profile="valkey-search-1.0") as valkey_search_10,
        Guard(engine, profile="valkey-search-1.2") as valkey_search_12,
    ):
        valkey_search_12.order = "reversed"  # farthest first, as a sharded engine once answered
        yield {"memorydb": memorydb, "valkey-search-1.0": valkey_search_10, "valkey-search-1.2": valkey_search_12}


class TestMemoryDB(Promises):
    profile = "memorydb"


class TestRedisearch(DurableContract):
    """The engine as it is, which is asked by range for what is near."""

    @pytest.fixture(autouse=True)
    def _served(self, engine):
        self.port = engine.port

    async def open(self, tmp_path, name="cache", embedder="fake", dim=None, **_):
        known = tmp_path / f"{name}.name"
        if not known.exists():
            known.write_text(fresh_name())
        address = Address.parse(f"redis://127.0.0.1:{self.port}?name={known.read_text()}")
        return await MemoryDBStore.open(address, embedder=embedder, dim=dim or self.dim)


class TestValkeySearch10(Promises):
    profile = "valkey-search-1.0"


class TestValkeySearch12(Promises):
    profile = "valkey-search-1.2"


class MemoryDBMachine(StoreMachine):
    durable = True
    guard = None

    def open_store(self):
        if not hasattr(self, "name"):
            self.name = fresh_name()
        return self.runner.run(open_behind(self.guard, self.name, options="&search=range"))

    def teardown(self):
        if hasattr(self, "store"):
            guard_command(self.guard, "FT.DROPINDEX", self.store.layout.index)
        super().teardown()


def test_any_series_of_operations_leaves_it_as_it_leaves_the_reference(guards):
    MemoryDBMachine.guard = guards["memorydb"]
    run_state_machine_as_test(MemoryDBMachine, settings=settings(FEW, max_examples=20, stateful_step_count=25))
