"""What processes share through each store: the public list of promises, and any series of claims against a model."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from yamabiko.errors import Outdated
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import DurableSharedStateContract, SharedStateContract, make_entry
from yamabiko.testing.contract_shared import NOW
from yamabiko.types import Selector

DIM = 8


class TestMemory(SharedStateContract):
    async def open(self, tmp_path, *, name=""):
        del tmp_path, name
        return MemoryStore(embedder="fake", dim=self.dim)


class TestSqlite(DurableSharedStateContract):
    async def open(self, tmp_path, *, name="cache"):
        return SqliteStore(tmp_path / f"{name}.db", embedder="fake", dim=self.dim)


async def on(engine, name, **options):
    """A store on a server; the name is the cache's."""
    address = Address.parse(f"redis://127.0.0.1:{engine.port}?name={name}")
    return await MemoryDBStore.open(address, embedder="fake", dim=DIM, **options)


class TestMemoryDB(DurableSharedStateContract):
    short_seconds = 0.2

    @pytest.fixture(autouse=True)
    def _engine(self, engine):
        self.engine, self.name = engine, secrets.token_hex(4)

    async def open(self, tmp_path, *, name=""):
        return await on(self.engine, self.name + name)

    async def after(self, seconds):
        """Leases go by the server's clock, which no test can move: it is awaited."""
        await asyncio.to_thread(self.wait_for_server, seconds)
        return await super().after(seconds)

    def wait_for_server(self, seconds):
        ends = self.servers_time() + seconds
        while self.servers_time() <= ends:
            time.sleep(0.01)

    def servers_time(self):
        whole, micros = self.engine.cli("TIME")
        return int(whole) + int(micros) / 1e6


class TestMemoryDBCluster(TestMemoryDB):
    @pytest.fixture(autouse=True)
    def _engine(self, cluster_engine):
        self.engine, self.name = cluster_engine, secrets.token_hex(4)


def test_a_server_that_forgets_its_counters_gives_out_no_fence_twice(engine):
    """As one does that evicts under allkeys-lru."""

    async def run():
        name = secrets.token_hex(4)
        store = await on(engine, name)
        first = await store.claim("job", "a", seconds=60, now=NOW)
        await store.append_log("labels", {"a": b"1"})
        (item,) = await store.read_log("labels", after=0, limit=1)
        for kind in ("fence", "barrier", "x"):
            for key in engine.cli("KEYS", f"{name}:{kind}:*"):
                engine.cli("DEL", key)
        again = await store.claim("job", "b", seconds=60, now=NOW)
        assert again.fence > first.fence
        await store.append_log("labels", {"b": b"2"})
        assert [later.id for later in await store.read_log("labels", after=item.position, limit=9)] == ["b"]
        await store.close()

    asyncio.run(run())


# Any series of claims.

names, holders = st.sampled_from(["job", "仕事"]), st.sampled_from(["a", "b", "c"])
spans = st.sampled_from([4.0, 9.0])


class ClaimMachine(RuleBasedStateMachine):
    """Leases as a dictionary has them: of each name the holder, the fence and the end."""

    open_store = None
    moves = True
    """Whether the store goes by our clock."""

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.runner.run(self.open_store(self.folder))
        self.now, self.last, self.barrier, self.tagged = NOW, 0, 0, 0
        self.leases, self.claims = {}, []

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def standing(self, name):
        holder, fence, until = self.leases.get(name, ("", 0, 0.0))
        return (holder, fence) if fence > self.barrier and until > self.now else None

    def mine(self, claim):
        return (
            claim.holder != ""
            and self.standing(claim.name) is not None
            and (self.standing(claim.name)[0] == claim.holder)
        )

    @rule(name=names, holder=holders, seconds=spans)
    def claim(self, name, holder, seconds):
        known = self.standing(name)
        claim = self.runner.run(self.store.claim(name, holder, seconds=seconds, now=self.now))
        if known is None:
            assert (claim.name, claim.holder) == (name, holder)
            assert claim.fence > self.last
            self.last = claim.fence
            self.leases[name] = holder, claim.fence, self.now + seconds
        elif known[0] == "":
            assert (claim.name, claim.holder) == (name, "")
            assert claim.fence >= self.barrier
        elif known[0] == holder:
            assert (claim.holder, claim.fence) == known
        else:
            assert claim is None
        self.claims += [claim] if claim is not None else []

    @rule(seconds=spans, data=st.data())
    def renew(self, seconds, data):
        for claim in self.some(data):
            expected = self.mine(claim)
            assert self.runner.run(self.store.renew(claim, seconds=seconds, now=self.now)) is expected
            if expected:
                self.leases[claim.name] = *self.leases[claim.name][:2], self.now + seconds

    @rule(open_seconds=st.sampled_from([0.0, 0.0, 4.0]), data=st.data())
    def release(self, open_seconds, data):
        for claim in self.some(data):
            expected = self.mine(claim)
            assert self.runner.run(self.store.release(claim, now=self.now, open_seconds=open_seconds)) is expected
            if expected and open_seconds:
                self.leases[claim.name] = "", self.leases[claim.name][1], self.now + open_seconds
            elif expected:
                del self.leases[claim.name]

    def some(self, data):
        return [data.draw(st.sampled_from(self.claims))] if self.claims else []

    @rule(seconds=st.sampled_from([1.0, 4.0, 5.0]))
    def pass_time(self, seconds):
        self.now += seconds if self.moves else 0.0

    @rule(selector=st.sampled_from([Selector(), Selector(tag="t"), Selector(dead_at=NOW)]))
    def purge(self, selector):
        self.runner.run(self.store.purge(selector))
        if selector.dead_at is None:
            fence = self.runner.run(self.store.fence())
            assert fence > self.last
            self.last = self.tagged = fence
            self.barrier = fence if selector == Selector() else self.barrier

    @rule(tags=st.sampled_from([(), ("t",)]), data=st.data())
    def put(self, tags, data):
        for claim in self.some(data):
            putting = self.store.put(make_entry("q", tags=tags), now=self.now, fence=claim.fence)
            if claim.fence < (self.tagged if tags else self.barrier):
                with pytest.raises(Outdated):
                    self.runner.run(putting)
            else:
                self.runner.run(putting)


FEW = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)


async def in_memory(_):
    return MemoryStore(embedder="fake", dim=DIM)


async def in_a_file(folder):
    return SqliteStore(folder / "cache.db", embedder="fake", dim=DIM)


@pytest.mark.parametrize("opening", [in_memory, in_a_file])
def test_any_series_of_claims(opening):
    run_state_machine_as_test(type("Machine", (ClaimMachine,), {"open_store": staticmethod(opening)}), settings=FEW)


def test_any_series_of_claims_on_a_server(engine):
    async def opening(_):
        return await on(engine, secrets.token_hex(4))

    machine = type("Machine", (ClaimMachine,), {"open_store": staticmethod(opening), "moves": False})
    run_state_machine_as_test(machine, settings=settings(FEW, max_examples=10))
