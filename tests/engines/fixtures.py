"""Fixtures: real engines and guards before them."""

import contextlib

import pytest

from engines.certificates import Certificates
from engines.client import MEMORYDB, Client
from engines.guard import Guard
from engines.resp import EngineError
from engines.valkey import Valkey, wait_until, watchdog


@pytest.fixture(scope="session", autouse=True)
def _no_engine_outlives_the_tests():
    yield
    watchdog.close()


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """One server with search for the whole session: every test takes a cache name of its own."""
    with Valkey(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(scope="session")
def cluster_engine(tmp_path_factory):
    """The same in cluster mode, one shard. A cluster takes two seconds to come up: share it."""
    with Valkey(tmp_path_factory.mktemp("cluster"), cluster=True) as running:
        yield running


@pytest.fixture(scope="session")
def shard(tmp_path_factory):
    """A cluster of one shard of two nodes, without search. Tests change who of them is the primary: take ``pair``."""
    one = Valkey(tmp_path_factory.mktemp("one"), search=False, cluster=True)
    two = Valkey(tmp_path_factory.mktemp("two"), search=False, cluster=True, replica_of=one)
    try:
        one.start(settled=False)
        two.start(settled=False)
        one.wait_for_cluster()
        yield one, two
    finally:
        one.kill()
        two.kill()


@pytest.fixture
def pair(shard):
    """The primary and its replica, whichever they are after the tests before, each knowing of the other."""
    first, second = shard
    primary, replica = (first, second) if first.info("replication")["role"] == "master" else (second, first)
    replica.replica_of = primary
    replica.wait_for_replication()
    wait_until(lambda: len(primary.cli("CLUSTER", "SLOTS")[0]) == 4, "the primary tells of its replica")
    return primary, replica


@pytest.fixture
def make_engine(tmp_path):
    """``make_engine(appendonly=True)``: a running server of this test's own, ended with the test."""
    made = []

    def make(**options):
        made.append(Valkey(tmp_path / f"engine-{len(made)}", **options))
        return made[-1].start()

    yield make
    for one in reversed(made):
        one.kill()


@pytest.fixture
def make_guard(tmp_path):
    """``make_guard(engine, profile="memorydb", tls=True)``: a running guard, ended with the test.

    The indexes made through it and their documents are removed: the next test's index is not built from them.
    """
    made = []

    def make(before, *, tls=False, **options):
        if tls:
            options["certificates"] = Certificates.make(tmp_path / "tls")
        made.append((Guard(before, **options), before))
        return made[-1][0].start()

    yield make
    with contextlib.ExitStack() as all_of_them:  # each is stopped, also when another says that it failed
        for guard, before in made:
            all_of_them.callback(guard.stop)
            all_of_them.callback(_tidy, guard, before)


@pytest.fixture
def guard_client(make_guard, engine, request):
    """``guard_client("memorydb")``: a client of a new guard."""
    made = []

    def make(profile=MEMORYDB, before=engine, **options):
        name = f"n{abs(hash(request.node.nodeid)):x}_{len(made)}"
        guard = before if isinstance(before, Guard) else make_guard(before, profile=profile, **options)
        made.append(Client(guard, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _tidy(guard, engine):
    if not isinstance(engine, Valkey) or not engine.answers():
        return
    with engine.wire() as wire:
        for definition in guard.made():
            with contextlib.suppress(EngineError):  # dropped already, or by a replica that may not
                wire.ask("FT.DROPINDEX", definition.name)
                for prefix in definition.prefixes:
                    for key in wire.scan(f"{prefix}*"):
                        wire.ask("UNLINK", key)
