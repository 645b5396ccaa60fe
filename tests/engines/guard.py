"""The dialect guard: a RESP2 proxy that makes a permissive engine as strict as the one that the product is for.

    with Guard(engine, profile="memorydb") as guard:
        ...                                   # a client of guard.port, or guard.url
        guard.index_lag_seconds = 5           # FT.SEARCH does not see what was written in the last five seconds
        with guard.watching() as seen:
            ...
        assert seen.names == ["FT.SEARCH", "EVALSHA"] and seen.round_trips == 2

It refuses what the profile's documentation does not grant, keeps its limits, words errors as it does, and does on a
test's wish what a service does now and then. It runs in a thread of its own: tests may block, or run loops of theirs.

What it does not show: the service's own latency, recall and error texts, and a vector of the wrong length, with which
RediSearch drops the whole document from the index where the others drop the field; or an all-zero query vector, which
RediSearch answers with NaN or nothing. Full text is not carried.
"""

import asyncio
import hashlib
import math
import threading
import time
from dataclasses import dataclass, field

from engines.commands import Commands, Scripts
from engines.faults import Rule, Rules
from engines.indexes import Definition, pairs
from engines.journal import Journal, Watch
from engines.lag import Writes
from engines.listener import Listener, end, end_all
from engines.profiles import PROFILES, Refusal
from engines.session import Session
from engines.upstream import Control
from engines.valkey import free_port

TWELVE_HOURS = 12 * 3600.0


class GuardBroken(Exception):
    """The guard itself failed: its answers in this test mean nothing."""


@dataclass
class Iam:
    """Turns IAM authentication on: ``guard.iam = Iam("shop", "eu-west-1", {"AKID": Secret("secret")})``."""

    cluster: str
    region: str
    secrets: dict
    users: set | None = None  # who may log in; None: anybody with a good token
    passwords: dict = field(default_factory=dict)  # what the engine itself wants of a user, if it has ACL users


class Guard:
    """``engine``: a Valkey, or the port of one. Start it or use it as a context manager.

    Wishes, changeable at any time from any thread:

    * ``index_lag_seconds``: FT.SEARCH hides keys written within that time, ``math.inf`` for all written from now on
      (memorydb). Keys written before the first wish are old.
    * ``backfilling``: True, False, or a set of index names; ``backfill_for(seconds)``. Without such a wish FT.CREATE
      answers when the engine has read all there was; with ``shows_real_backfill`` at once, and searches are refused
      (memorydb) or answered in part (the others) until then, however long that takes.
    * ``readonly``, ``loading``, ``clusterdown``, ``out_of_memory``: states of the node.
    * ``order``: rows "nearest" first, in "document" order, or "reversed" (before LIMIT).
    * ``nil_rows``: True, or a set of keys whose fields come back as nil. ``ghosts``: [(key, distance)] that come back
      although they are gone. ``info_shape``: "docs" or "client", for memorydb's FT.INFO. ``hello3``: "refuse", "resp2".
    * ``texts``: error texts by name, see profiles.py. ``iam``, ``clock``, ``max_connection_seconds``.
    * ``ports``: one dict given to the guards of all nodes lets each tell clients of the others.
    * rules for chosen commands: ``fail``, ``hold``, ``delay``, ``cut``, ``move``; ``heal`` ends everything.
    """

    def __init__(self, engine, *, profile="memorydb", certificates=None, ports=None, clock=time.time, iam=None):
        self.profile = PROFILES[profile]
        self.engine_port = engine if isinstance(engine, int) else engine.plain_port
        self.ports = {} if ports is None else ports  # the port a client is told, by the engine's; guards may share it
        self._own_ports = {self.engine_port} if isinstance(engine, int) else {engine.plain_port, engine.port}
        self._login = None if isinstance(engine, int) else engine.admin
        self.certificates = certificates
        self.port = 0
        self.journal = Journal()
        self.rules = Rules()
        self.indexes = {}  # by name: those it saw being made, or had to learn of
        self._made_here = set()
        self.aliases = {}
        self.filling = set()  # indexes made over data that may be there already, until the engine has read it all
        self.scripts = Scripts()
        self.logins = []  # (user, why it was refused, or None)
        self.broken = []
        self.clock = clock
        self.iam = iam
        self.hello3 = "refuse"
        self.info_shape = "docs"
        self.max_connection_seconds = TWELVE_HOURS
        self.texts = {**self.profile.texts, "told": "{what}"}
        self._index_lag_seconds = 0.0
        self._states()
        self._loop = None
        self._thread = None
        self._listener = None
        self._listeners = []  # with those that have stopped listening: their connections live on
        self._sessions = {}
        self._control = None
        self._writes = None
        self._commands = None

    def _states(self):
        self.backfilling = False
        self._backfill_until = -math.inf
        self.readonly = self.loading = self.clusterdown = self.out_of_memory = False
        self.order = "nearest"
        self.nil_rows = self.shows_real_backfill = False
        self.ghosts = []

    @property
    def url(self) -> str:
        """What a user would write for this engine."""
        if self.certificates is None:
            plain = "?tls=false" if self.profile.name == "memorydb" else ""
            return f"{self.profile.scheme}://127.0.0.1:{self.port}{plain}"
        scheme = self.profile.scheme if self.profile.name == "memorydb" else f"{self.profile.scheme}s"
        return f"{scheme}://localhost:{self.port}?ca={self.certificates.authority}"

    # Life

    def start(self) -> "Guard":
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._unexpected)
        self._thread = threading.Thread(target=self._loop.run_forever, name="guard", daemon=True)
        self._thread.start()
        for attempt in range(5):
            self.port = free_port()
            try:
                self._run(self._listen())
                break
            except OSError:
                if attempt == 4:
                    raise
        self.ports.update(dict.fromkeys(self._own_ports, self.port))
        return self

    def stop(self) -> None:
        """Ends every connection; raises GuardBroken if the guard itself failed."""
        if self._loop is None:
            return
        self.rules.clear()
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None
        if self.broken:
            raise GuardBroken(f"{len(self.broken)} failures, the first: {self.broken[0]!r}") from self.broken[0]

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _unexpected(self, _loop, context):
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):  # a client that breaks off is a test's choice
            self.broken.append(error)

    async def _listen(self):
        context = None if self.certificates is None else self.certificates.server_context()
        self._listener = Listener(self.port, self._serve, context)
        self._listeners.append(self._listener)
        self._control = self._control or Control(self.engine_port, self._login)

    async def _close(self):
        if self._listener is not None:
            self._listener.close()
        if self._control is not None:
            self._control.abort()
        await end_all()

    async def _serve(self, reader, writer):
        session = Session(self, reader, writer)
        self._sessions[session] = asyncio.current_task()
        try:
            await session.run()
        finally:
            del self._sessions[session]

    async def __aenter__(self):
        return self.start()

    async def __aexit__(self, *_):
        self.stop()

    def point_at(self, engine) -> None:
        """What is behind this address from now on; open connections drop, as in a failover behind one endpoint."""
        self._run(self._point_at(engine))

    async def _point_at(self, engine):
        self.engine_port, self._login = engine.plain_port, engine.admin
        self.ports.update({engine.plain_port: self.port, engine.port: self.port})
        self._control.abort()
        self._control = Control(self.engine_port, self._login)
        if self._writes is not None:
            self._writes.abort()
            self._writes = Writes(self.engine_port, self._login)
            await asyncio.wait_for(self._writes.barrier(), 20)
        await self._drop_all()

    # What clients said

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._sessions)

    def watching(self) -> Watch:
        return Watch(self.journal)

    # Wishes

    @property
    def index_lag_seconds(self) -> float:
        return self._index_lag_seconds

    @index_lag_seconds.setter
    def index_lag_seconds(self, seconds: float) -> None:
        if seconds and self._writes is None:
            self._run(self._hear_writes())
        self._index_lag_seconds = seconds

    async def _hear_writes(self):
        self._writes = Writes(self.engine_port, self._login)
        await asyncio.wait_for(self._writes.barrier(), 20)

    def backfill_for(self, seconds: float) -> None:
        """Every index is being backfilled for that time from now."""
        self._backfill_until = time.monotonic() + seconds

    def fail(self, command: str | None, text: str, *, times: int | None = 1) -> Rule:
        """That command, or any, is answered with this error and never reaches the engine."""
        return self.rules.add("fail", command, times, text=text)

    def hold(self, command: str | None = None, *, times: int | None = 1) -> Rule:
        """The command is done; its reply waits for ``release()``. ``wait_reached()`` returns when one is waiting."""
        return self.rules.add("hold", command, times)

    def delay(self, command: str | None, seconds: float, *, times: int | None = None) -> Rule:
        """The command is done; its reply comes that much later."""
        return self.rules.add("delay", command, times, seconds=seconds)

    def cut(self, command=None, *, when="after", after_bytes=0, times: int | None = 1) -> Rule:
        """The connection drops "before" the command is done, or "after" it, with the first bytes of its reply sent."""
        if when not in {"before", "after"}:
            raise ValueError("when is before or after")
        return self.rules.add("cut", command, times, when=when, after_bytes=after_bytes)

    def move(self, to: str, *, slots=None, command=None, answer="MOVED", times: int | None = None) -> Rule:
        """Commands with a key in one of the slots (None: any) are answered with MOVED (or ASK) to ``to``, host:port."""
        return self.rules.add("move", command, times, to=to, slots=slots, answer=answer)

    def heal(self) -> None:
        """Everything is well again: no rule, no lag, no state. IAM, texts and clock stay."""
        self.rules.clear()
        self._states()
        self._index_lag_seconds = 0.0
        self.listen_again()

    def drop_connections(self) -> None:
        """All connections drop now."""
        self._run(self._drop_all())

    def cut_expired(self) -> None:
        """The connections that were authenticated 12 hours ago drop now, as after ``clock`` has moved on."""
        self._run(self._drop(Session.too_old))

    async def _drop(self, which):
        chosen = [task for session, task in self._sessions.items() if which(session)]
        await end(chosen)

    async def _drop_all(self):
        if self._listener is not None:
            self._listener.accept()
        for listener in self._listeners:
            await listener.cancel()

    def refuse_connections(self) -> None:
        """New connections are refused as by a machine that is down; open ones stay."""
        self._run(self._stop_listening())

    async def _stop_listening(self):
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def listen_again(self) -> None:
        if self._listener is None:
            self._run(self._listen())

    # What sessions ask

    @property
    def judges(self) -> bool:
        return self.readonly or self.loading or self.clusterdown or self.out_of_memory or self.rules.any("move")

    def is_backfilling(self, index=None) -> bool:
        if time.monotonic() < self._backfill_until:
            return True
        if isinstance(self.backfilling, bool):
            return self.backfilling
        return bool(self.backfilling) if index is None else index in self.backfilling

    async def really_backfilling(self, name) -> bool:
        """By a test's wish, or because the engine is still reading what was there when the index was made."""
        return self.is_backfilling(name) or (name in self.filling and await self._engine_is_filling(name))

    async def wait_for_backfill(self, name) -> None:
        """The engine reads through all keys it has, also those of other tests, in the background."""
        pause = 0.0005
        while name in self.filling and await self._engine_is_filling(name):
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.02)

    async def _engine_is_filling(self, name) -> bool:
        reply = await self._control.ask_or_none("FT.INFO", name)
        if reply is not None and int(pairs(reply)["indexing"]):
            return True
        self.filling.discard(name)
        return False

    def words(self, refusal: Refusal) -> bytes:
        line = self.texts[refusal.key].format(**refusal.parts)
        return line.replace("\r", " ").replace("\n", " ").encode(errors="surrogateescape")

    async def hidden(self, definition: Definition) -> set:
        if not self._index_lag_seconds or self._writes is None or self.profile.waits_for_index:
            return set()
        return {key for key in await self._writes.young(self._index_lag_seconds) if definition.covers(key)}

    async def definition(self, name) -> Definition | None:
        name = self.aliases.get(name, name)
        if name not in self.indexes:
            reply = await self._control.ask_or_none("FT.INFO", name)
            if reply is None:
                return None
            learned = Definition.learn(reply)
            if learned.name != name:
                self.aliases[name] = learned.name
            self.indexes.setdefault(learned.name, learned)
            return self.indexes[learned.name]
        return self.indexes[name]

    def made(self) -> list[Definition]:
        """The indexes that were made through this guard and are still there."""
        return [definition for name, definition in self.indexes.items() if name in self._made_here]

    def remember(self, definition: Definition) -> None:
        """An index that has just been made."""
        self.indexes[definition.name] = definition
        self.filling.add(definition.name)
        self._made_here.add(definition.name)

    async def forget_lost_indexes(self) -> None:
        there = {one.decode(errors="surrogateescape") for one in await self._control.ask("FT._LIST")}
        for name in set(self.indexes) - there:
            del self.indexes[name]

    async def commands(self) -> Commands:
        if self._commands is None:
            self._commands = Commands(await self._control.ask("COMMAND"))
        return self._commands

    async def script(self, name, arguments) -> str | None:
        """The Lua text that EVAL or EVALSHA is about."""
        if not arguments:
            return None
        sha = arguments[0]
        if name == "EVAL":
            self.scripts.learn(sha)
            sha = hashlib.sha1(sha).hexdigest().encode()
        elif self.scripts.text(sha) is None:
            found = await self._control.ask_or_none("SCRIPT", "SHOW", sha)
            if found is not None:
                self.scripts.learn(found)
        return self.scripts.text(sha)
