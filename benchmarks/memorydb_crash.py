"""kill -9 of the server under write load, again and again; and failover to a replica. What was acknowledged is there.

    python benchmarks/memorydb_crash.py
    python benchmarks/memorydb_crash.py --kills 100 --failovers 20
    python benchmarks/memorydb_crash.py --quick

Kills: one server with ``appendonly yes`` and ``appendfsync always``. Writers store and delete, readers look up what has
been acknowledged; at a random moment the server is killed and started anew in the same folder, while the clients stay.
Then every acknowledged entry of all rounds must be found by key, with its answer, every acknowledged deletion must have
held, every entry of the round must be found by meaning, and ``check()`` must have nothing to say. What was not
acknowledged may be there or not, but only whole.

Failovers: a primary and a replica in cluster mode. The primary is killed, the replica takes over, and
the old primary comes back as its replica.
Clients ask through ``Cache.lookup``: while nobody serves, every call must be a miss with the reason
``store_unavailable``; no answer may ever be a wrong one. This replication is asynchronous, so that acknowledged writes
may be lost here; they are counted. (MemoryDB acknowledges from its transaction log instead.)
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

import machine
from remote import vectors
from remote.systems import EMBEDDER, MODEL, TENANT, entry_of, key_of_request
from yamabiko import Hit, Policy, Request, open_cache
from yamabiko.errors import StoreUnavailable
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.types import Entry

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from engines.valkey import Valkey, wait_until

DIM = 128
FILLER = " Open the settings, choose Security and follow the link." * 36
PATIENCE_SECONDS = 60.0


def vector_of(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return vectors.unit(np.random.default_rng(seed).standard_normal(DIM))


def request_of(text: str) -> Request:
    return Request(text, model=MODEL, tenant=TENANT)


def answer_of(text: str) -> str:
    return f"answer to {text}{FILLER}"


def entry_for(text: str) -> Entry:
    return entry_of(request_of(text), vector_of(text), answer_of(text))


class Ledger:
    """What the server has promised. ``unsure``: asked for and never acknowledged, and so free to be either way."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.deleted: set[str] = set()
        self.unsure: set[str] = set()

    def must_be_there(self) -> list[str]:
        return [text for text in self.stored if text not in self.deleted and text not in self.unsure]


async def write(store: MemoryDBStore, ledger: Ledger, name: str, stop: asyncio.Event) -> None:
    """Stores one after the other, and deletes every fifth again; a failure leaves the write open and goes on."""
    mine: list[str] = []
    for number in range(10**9):
        if stop.is_set():
            return
        text = f"What is the setting {name} {number}?"
        ledger.unsure.add(text)
        try:
            await store.put(entry_for(text), now=time.time())
            ledger.unsure.discard(text)
            ledger.stored.append(text)
            mine.append(text)
            if number % 5 == 4:
                old = mine.pop(0)
                ledger.unsure.add(old)
                await store.delete(entry_for(old).id)
                ledger.unsure.discard(old)
                ledger.deleted.add(old)
        except StoreUnavailable:
            await asyncio.sleep(0.005)


async def read(store: MemoryDBStore, ledger: Ledger, seen: Counter[str], stop: asyncio.Event) -> None:
    """Looks acknowledged entries up by key: right, out of reach (a miss), or wrong."""
    chance = random.Random(1)
    while not stop.is_set():
        if not ledger.stored:
            await asyncio.sleep(0.001)
            continue
        text = chance.choice(ledger.stored[-2000:])
        certain = text not in ledger.deleted and text not in ledger.unsure
        try:
            entry = await store.get(entry_key(text))
        except StoreUnavailable:
            seen["out_of_reach"] += 1
            await asyncio.sleep(0.001)
            continue
        certain = certain and text not in ledger.deleted and text not in ledger.unsure
        wrong = (entry is None and certain) or (entry is not None and entry.reply.text != answer_of(text))
        seen["wrong" if wrong else "right"] += 1


def entry_key(text: str) -> Any:
    return key_of_request(request_of(text))


async def until_served(ask: Callable[[], Awaitable[Any]]) -> float:
    """Seconds until the call goes through."""
    started = time.perf_counter()
    while True:
        try:
            await ask()
        except StoreUnavailable:
            if time.perf_counter() - started > PATIENCE_SECONDS:
                raise
            await asyncio.sleep(0.01)
        else:
            return time.perf_counter() - started


async def look_by_key(store: MemoryDBStore, ledger: Ledger) -> Counter[str]:
    faults: Counter[str] = Counter()

    async def look(text: str) -> None:
        entry = await store.get(entry_key(text))
        if entry is not None and entry.reply.text != answer_of(text):
            faults["wrong"] += 1
        if text in ledger.unsure:
            return
        faults["lost"] += entry is None and text not in ledger.deleted
        faults["undead"] += entry is not None and text in ledger.deleted

    everything = [*ledger.stored, *ledger.unsure - set(ledger.stored)]
    for at in range(0, len(everything), 256):
        await asyncio.gather(*map(look, everything[at : at + 256]))
    return faults


async def look_by_meaning(store: MemoryDBStore, texts: list[str]) -> int:
    """How many are not found."""

    async def look(text: str) -> int:
        scope, vector = entry_key(text).scope, vector_of(text)
        found = await store.search(scope, vector, limit=1, min_similarity=0.99, now=time.time())
        return int(not found or found[0].entry.reply.text != answer_of(text))

    return sum([sum(await asyncio.gather(*map(look, texts[at : at + 64]))) for at in range(0, len(texts), 64)])


async def kills(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    moments, ledger, rounds = random.Random(options.seed), Ledger(), []
    with Valkey(folder / "durable", appendonly=True) as engine:
        address = Address.parse(f"redis://127.0.0.1:{engine.port}?name=bench")
        store = await MemoryDBStore.open(address, embedder=EMBEDDER, dim=DIM, timeout_seconds=5.0)
        for number in range(options.kills):
            stop, seen = asyncio.Event(), Counter[str]()
            before, delay = len(ledger.stored), moments.uniform(0.1, options.seconds)
            jobs = [write(store, ledger, f"{number}.{i}", stop) for i in range(options.writers)]
            jobs += [read(store, ledger, seen, stop) for _ in range(4)]
            tasks = [asyncio.ensure_future(job) for job in jobs]
            await asyncio.sleep(delay)
            seconds = await kill_and_restart(engine, store)
            stop.set()
            await asyncio.gather(*tasks)
            figures = {"killed_after_seconds": round(delay, 2), "acknowledged": len(ledger.stored) - before}
            figures |= await look(store, ledger, set(ledger.stored[before:]))
            rounds.append(figures | seconds | {"read_meanwhile": dict(seen)})
            print(f"kill {number + 1:3}", rounds[-1], flush=True)
        await store.close()
    return rounds


async def kill_and_restart(engine: Valkey, store: MemoryDBStore) -> dict[str, float]:
    """Until the clients that stayed are served again, by key and by meaning."""
    started = time.perf_counter()
    await asyncio.to_thread(engine.kill)
    await asyncio.to_thread(engine.restart)
    restarted = time.perf_counter() - started
    key, vector = entry_key("?"), vector_of("?")
    by_key = await until_served(lambda: store.get(key))
    by_meaning = await until_served(lambda: store.search(key.scope, vector, limit=1, min_similarity=0.9, now=0.0))
    seconds = {"restart": restarted, "then_by_key": by_key, "then_by_meaning": by_meaning}
    return {f"{name}_seconds": round(value, 2) for name, value in seconds.items()}


async def look(store: MemoryDBStore, ledger: Ledger, new: set[str]) -> dict[str, Any]:
    """Everything by key, what is new by meaning, and the store's own opinion."""
    faults = await look_by_key(store, ledger)
    not_found = await look_by_meaning(store, [text for text in ledger.must_be_there() if text in new])
    figures: dict[str, Any] = {name: faults[name] for name in ("lost", "undead", "wrong")}
    return figures | {"not_found_by_meaning": not_found, "faults": list(await store.check())}


async def ask_and_write(cache: Any, ledger: Ledger, name: str, seen: Counter[str], stop: asyncio.Event) -> None:
    """Through the whole cache; ``seen`` counts what a user saw."""
    chance = random.Random(name)
    for number in range(10**9):
        if stop.is_set():
            return
        known = bool(ledger.stored) and number % 4 > 0
        text = chance.choice(ledger.stored) if known else f"What is the setting {name} {number}?"
        outcome = await cache.lookup(request_of(text))
        if isinstance(outcome, Hit):
            seen["right" if outcome.reply.text == answer_of(text) else "wrong"] += 1
            seen["served_unasked"] += not known and text not in ledger.unsure
            continue
        seen[str(outcome.reason)] += 1
        if outcome.reason == "store_unavailable":
            await asyncio.sleep(0.002)
        if not known:
            ledger.unsure.add(text)
            if await cache.remember(outcome, answer_of(text)) is not None:
                ledger.unsure.discard(text)
                ledger.stored.append(text)


class Seeing:
    """An embedder that computes ``vector_of``."""

    id, dim = EMBEDDER, DIM

    def model_for(self, text: str, /) -> str:  # noqa: ARG002 - one model for every text
        return self.id

    async def embed(self, texts: Any, /) -> list[np.ndarray]:
        return [vector_of(text) for text in texts]

    async def close(self) -> None:
        return None


async def silence(cache: Any) -> float:
    """Seconds until the cache answers again; infinite where it does not."""
    started = time.perf_counter()
    while (seconds := time.perf_counter() - started) < PATIENCE_SECONDS:
        if getattr(await cache.lookup(request_of("?")), "reason", None) != "store_unavailable":
            return seconds
        await asyncio.sleep(0.01)
    return math.inf


def follow(old: Valkey, new: Valkey) -> None:
    """The node that was killed comes back, at its old address, as a replica of the one that took over."""
    old.replica_of = new
    old.restart()
    wait_until(lambda: old.info("replication")["role"] == "slave", "the old primary follows the new one")
    old.wait_for_replication()
    wait_until(lambda: len(new.cli("CLUSTER", "SLOTS")[0]) == 4, "the primary lists its replica")


async def failovers(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    ledger, rounds = Ledger(), []
    primary = Valkey(folder / "node0", cluster=True)
    replica = Valkey(folder / "node1", cluster=True, replica_of=primary)
    with primary, replica:
        await asyncio.to_thread(wait_until, lambda: len(primary.cli("CLUSTER", "SLOTS")[0]) == 4, "a replica is listed")
        address = Address.parse(f"redis://127.0.0.1:{primary.port}?name=bench&cluster=true")
        store = await MemoryDBStore.open(address, embedder=EMBEDDER, dim=DIM, timeout_seconds=2.0)
        cache = await open_cache(store=store, embedder=Seeing(), policy=Policy(max_error_rate=None, min_similarity=0.9))
        for number in range(options.failovers):
            rounds.append(await failover(cache, ledger, primary, replica, number=number, options=options))
            print(f"failover {number + 1:3}", rounds[-1], flush=True)
            if math.isinf(rounds[-1]["then_silent_seconds"]):
                break
            rounds[-1]["faults"] = list(await store.check())
            if number + 1 < options.failovers:
                await asyncio.to_thread(follow, primary, replica)
                primary, replica = replica, primary
        await cache.close()
    return rounds


async def failover(
    cache: Any, ledger: Ledger, primary: Valkey, replica: Valkey, *, number: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Load; the primary dies; the replica takes over; load; then a look at everything that was acknowledged."""
    before, seen, stop = len(ledger.stored), Counter[str](), asyncio.Event()
    jobs = [ask_and_write(cache, ledger, f"{number}.{i}", seen, stop) for i in range(options.writers)]
    tasks = [asyncio.ensure_future(job) for job in jobs]
    await asyncio.sleep(options.seconds)
    dead = time.perf_counter()
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(replica.take_over)
    taken = time.perf_counter() - dead
    silent = await silence(cache)
    await asyncio.sleep(options.seconds)
    stop.set()
    await asyncio.gather(*tasks)
    promised = ledger.must_be_there() if math.isfinite(silent) else []
    outcomes = [await cache.lookup(request_of(text)) for text in promised]
    gone = [text for text, outcome in zip(promised, outcomes, strict=True) if not isinstance(outcome, Hit)]
    ledger.unsure.update(gone)
    figures = {"takeover_seconds": round(taken, 2), "then_silent_seconds": round(silent, 2), "seen": dict(seen)}
    return figures | {"acknowledged": len(ledger.stored) - before, "lost_by_replication": len(gone)}


def total_of(killed: list[dict[str, Any]], failed: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {"kills": len(killed), "acknowledged": sum(r["acknowledged"] for r in killed)}
    for name in ("lost", "undead", "wrong", "not_found_by_meaning"):
        total[name] = sum(r[name] for r in killed)
    total["wrong_meanwhile"] = sum(r["read_meanwhile"].get("wrong", 0) for r in killed)
    total["failovers"] = len(failed)
    total["wrong_in_failover"] = sum(r["seen"].get("wrong", 0) + r["seen"].get("served_unasked", 0) for r in failed)
    total["missed_in_failover"] = sum(r["seen"].get("store_unavailable", 0) for r in failed)
    total["lost_by_replication"] = sum(r["lost_by_replication"] for r in failed)
    total["longest_silence_seconds"] = max((r["then_silent_seconds"] for r in failed), default=0.0)
    total["never_came_back"] = sum(math.isinf(r["then_silent_seconds"]) for r in failed)
    total["faults"] = sum(len(r.get("faults", ())) for r in (*killed, *failed))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--failovers", type=int, default=4)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="the longest time to a kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes no results")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.failovers, options.seconds = 2, 2, 0.4
    with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as name:
        killed = asyncio.run(kills(Path(name), options))
        failed = asyncio.run(failovers(Path(name), options))
    total = total_of(killed, failed)
    print(total)
    if not options.quick:
        print("written:", machine.write("memorydb_crash", {"total": total, "kills": killed, "failovers": failed}))
    broken = (
        "lost",
        "undead",
        "wrong",
        "not_found_by_meaning",
        "wrong_meanwhile",
        "wrong_in_failover",
        "never_came_back",
        "faults",
    )
    sys.exit(any(total[name] for name in broken))


if __name__ == "__main__":
    main()
