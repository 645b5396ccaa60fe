"""One client's connection through the guard: each command is judged, changed, sent on, and its reply told anew."""

import asyncio
import re

from engines import tokens, told
from engines.commands import SEARCH_WRITES, full_name, slot
from engines.journal import Seen
from engines.profiles import UNPAIRED, Refusal
from engines.resp import Failure, Malformed, Reader, Simple, command, encode
from engines.searching import Searching
from engines.upstream import EngineGone, Upstream

_SEARCH_IN_LUA = re.compile(r"""['"]FT\.\w+['"]""", re.IGNORECASE)
_CALLED_IN_LUA = re.compile(r"""call\(\s*['"](\w+)['"]""", re.IGNORECASE)
OK = encode(Simple(b"OK"))
_NOTHING = object()  # no request is waiting


class Cut(Exception):
    """The connection ends here."""


class Session:
    def __init__(self, guard, reader, writer):
        self._guard = guard
        self._reader = reader
        self._writer = writer
        self._number = guard.journal.connected()
        self._batch = 0
        self._outstanding = 0  # commands received and not yet answered
        self._requests = asyncio.Queue()
        self._upstream = None
        self._in_multi = False
        self._spoilt = False  # a command inside MULTI was refused: EXEC will be too
        self.authenticated_at = None
        self._searching = Searching(guard, self._ask)

    # The connection

    async def run(self):
        tasks = []
        try:
            self._upstream = await Upstream.open(self._guard.engine_port)
            tasks = [asyncio.create_task(one()) for one in (self._receive, self._work, self._watch_engine)]
            for task in tasks:
                task.add_done_callback(self._ended)
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
        except EngineGone:
            pass  # to the client this looks like a server that closes at once
        finally:
            self.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task):
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (OSError, Cut, Malformed)):
            self._guard.broken.append(error)  # the guard's own fault: told when it stops

    def abort(self):
        self._writer.transport.abort()
        if self._upstream is not None:
            self._upstream.abort()

    async def _receive(self):
        parser = Reader()
        while data := await self._reader.read(1 << 20):
            if not self._outstanding and not parser.partial:
                self._batch += 1
            parser.feed(data)
            while (found := parser.next()) is not None:
                raw, words = found
                if not isinstance(words, list) or not words or not all(isinstance(word, bytes) for word in words):
                    raise Malformed("a request that is no array of strings")
                self._outstanding += 1
                self._requests.put_nowait((raw, words[0].decode(errors="replace").upper(), words[1:], self._batch))

    async def _watch_engine(self):
        await self._upstream.ended.wait()
        self._requests.put_nowait(None)

    async def _work(self):
        waiting = await self._requests.get()
        while waiting is not None:
            plain = []
            while waiting is not None and self._is_plain(waiting):  # a pipeline of such goes through as one
                plain.append(waiting)
                waiting = self._requests.get_nowait() if self._requests.qsize() else _NOTHING
            if plain:
                await self._many(plain)
            elif waiting is not None:
                await self._one(*waiting)
                waiting = _NOTHING
            await self._writer.drain()
            if waiting is _NOTHING:
                waiting = await self._requests.get()

    def _is_plain(self, request):
        """Whether the command may go to the engine as it is, whatever else is there."""
        if request is _NOTHING:
            return False
        guard, (_, name, arguments, _) = self._guard, request
        full = full_name(name, arguments)
        if guard.rules or guard.judges or guard.iam is not None or name in _ANSWERS or name.startswith("FT."):
            return False
        return not {name, full} & guard.profile.refused and not {name, full} & UNPAIRED

    async def _many(self, requests):
        notes = [Seen(self._number, batch, name, tuple(arguments)) for _, name, arguments, batch in requests]
        for seen in notes:
            self._guard.journal.note(seen)
        replies = await self._upstream.send_all([request[0] for request in requests])
        told_anew = [self._noted(seen, reply) for seen, (reply, _) in zip(notes, replies, strict=True)]
        self._outstanding -= len(requests)
        self._writer.write(b"".join(told_anew))

    def _noted(self, seen, reply):
        if reply.startswith((b"-MOVED ", b"-ASK ")):
            reply = told.with_ports_in_text(reply.rstrip(), self._guard.ports) + b"\r\n"
        seen.error = reply[1:-2].decode(errors="replace") if reply.startswith(b"-") else None
        return reply

    async def _one(self, raw, name, arguments, batch):
        seen = Seen(self._number, batch, name, tuple(arguments))
        self._guard.journal.note(seen)
        rules = self._guard.rules
        cut = rules.strike("cut", name)
        if self.too_old() or (cut is not None and cut.given["when"] == "before"):
            raise Cut
        try:
            reply = await self._answer(raw, name, arguments)
        except Refusal as refusal:
            self._spoilt = self._in_multi
            reply = encode(Failure(self._guard.words(refusal)))
        reply = self._noted(seen, reply)
        if (rule := rules.strike("hold", name)) is not None:
            await rule.passed()
        if (rule := rules.strike("delay", name)) is not None:
            await asyncio.sleep(rule.given["seconds"])
        if cut is not None:
            self._writer.write(reply[: cut.given["after_bytes"]])
            self._writer.transport.set_write_buffer_limits(0)
            await self._writer.drain()  # all of it is with the client's machine before the connection ends
            raise Cut
        self._outstanding -= 1
        self._writer.write(reply)

    # Who is asking

    def too_old(self):
        begun = self.authenticated_at
        return begun is not None and self._guard.clock() - begun >= self._guard.max_connection_seconds

    async def _auth(self, raw, _name, arguments):
        if self._guard.iam is None or len(arguments) not in (1, 2):
            return await self._pass(raw)
        user = arguments[0] if len(arguments) == 2 else b"default"
        return await self._login(user, arguments[-1])

    async def _login(self, user, token):
        iam = self._guard.iam
        if self._in_multi:
            raise Refusal("iam_in_multi")
        name = user.decode(errors="replace")
        reason = "no such user" if iam.users is not None and name not in iam.users else None
        reason = reason or tokens.refusal(
            token.decode(errors="replace"),
            name,
            cluster=iam.cluster,
            region=iam.region,
            secrets=iam.secrets,
            now=self._guard.clock(),
        )
        self._guard.logins.append((name, reason))
        if reason is not None:
            raise Refusal("wrong_password")
        if name in iam.passwords:
            raw, value = await self._upstream.ask("AUTH", name, iam.passwords[name])
            if isinstance(value, Failure):
                return raw
        self.authenticated_at = self._guard.clock()
        return OK

    async def _hello(self, _raw, _name, arguments):
        words = list(arguments)
        if words and words[0] == b"3":
            if self._guard.hello3 == "refuse":
                raise Refusal("no_protocol")
            words[0] = b"2"
        at = [word.upper() for word in words].index(b"AUTH") if b"AUTH" in [word.upper() for word in words] else None
        if self._guard.iam is not None:
            if at is not None:
                answer = await self._login(words[at + 1], words[at + 2])
                if answer != OK:
                    return answer
                del words[at : at + 3]
            elif self.authenticated_at is None:
                raise Refusal("no_password")
        return (await self._upstream.ask("HELLO", *words))[0]

    # What is asked

    async def _answer(self, raw, name, arguments):
        guard = self._guard
        full = full_name(name, arguments)
        if guard.iam is not None and self.authenticated_at is None and name not in {"AUTH", "HELLO", "QUIT", "RESET"}:
            raise Refusal("no_password")
        if name in UNPAIRED or full in UNPAIRED:
            raise Refusal("not_paired", name=full)
        if name in guard.profile.refused or full in guard.profile.refused:
            raise self._unknown(name, arguments)
        if (rule := guard.rules.strike("fail", name)) is not None:
            raise Refusal("told", what=rule.given["text"])
        if guard.judges:
            await self._faults(name, arguments)
        if name.startswith("FT."):
            if name not in guard.profile.commands:
                raise self._unknown(name, arguments)
            if self._in_multi:
                raise Refusal("in_transaction", name=name)
            return await self._searching.answer(name, arguments)
        return await _ANSWERS.get(name, Session._plain)(self, raw, name, arguments)

    @staticmethod
    def _unknown(name, arguments):
        listed = "".join(f"'{one.decode(errors='replace')[:128]}' " for one in arguments)
        return Refusal("unknown_command", name=name, arguments=listed)

    async def _ask(self, words):
        return await self._upstream.send(command(*words))

    async def _pass(self, raw):
        return (await self._upstream.send(raw))[0]

    async def _plain(self, raw, _name, _arguments):
        return await self._pass(raw)

    async def _faults(self, name, arguments):
        """The states of a node that a test may wish for; the first that concerns this command answers."""
        guard = self._guard
        commands = await guard.commands()
        if guard.loading and not commands.has(name, b"loading"):
            raise Refusal("loading")
        keys = commands.keys(name, arguments)
        if guard.clusterdown and (keys or name.startswith("FT.")):
            raise Refusal("clusterdown")
        if keys:
            where = slot(keys[0])
            rule = guard.rules.strike(
                "move", name, lambda one: one.given["slots"] is None or where in one.given["slots"]
            )
            if rule is not None:
                raise Refusal("told", what=f"{rule.given['answer']} {where} {rule.given['to']}")
        writes = commands.has(name, b"write") or name in SEARCH_WRITES
        hungry = commands.has(name, b"denyoom") or name == "FT.CREATE"
        hungry = hungry or (name == "FT.SEARCH" and guard.profile.module_version > 0)
        if name in {"EVAL", "EVALSHA"} and (guard.readonly or guard.out_of_memory):
            text = await guard.script(name, arguments)
            if text is None:
                return  # the engine says that it doesn't know the script, before anything else
            flags = guard.scripts.flags(text)
            writes = "no-writes" not in flags
            hungry = not flags & {"no-writes", "allow-oom"}
        if guard.readonly and writes:
            raise Refusal("readonly")
        if guard.out_of_memory and hungry:
            raise Refusal("out_of_memory")

    # Transactions and scripts

    async def _multi(self, raw, _name, _arguments):
        reply = await self._pass(raw)
        self._in_multi = self._in_multi or reply == OK
        return reply

    async def _exec(self, raw, name, _arguments):
        spoilt, self._in_multi, self._spoilt = self._spoilt, False, False
        if spoilt and name == "EXEC":
            await self._upstream.ask("DISCARD")
            raise Refusal("aborted")
        return await self._pass(raw)

    async def _reset(self, raw, _name, _arguments):
        self._in_multi = self._spoilt = False
        self.authenticated_at = None
        return await self._pass(raw)

    async def _script(self, raw, name, arguments):
        if name != "SCRIPT" or (len(arguments) == 2 and arguments[0].upper() == b"LOAD"):
            text = arguments[1] if name == "SCRIPT" else arguments[0] if arguments else b""
            self._judge_script(text.decode(errors="replace"))
            self._guard.scripts.learn(text)
        return await self._pass(raw)

    def _judge_script(self, text):
        """Lua calls the same commands: what the profile lacks is refused there too."""
        if (match := _SEARCH_IN_LUA.search(text)) is not None:
            raise Refusal("in_transaction", name=match[0].strip("'\"").upper())
        for called in _CALLED_IN_LUA.findall(text):
            if called.upper() in self._guard.profile.refused:
                raise Refusal("told", what=f"ERR Unknown command called from script: {called}")

    # Replies that would give the real engine away

    async def _info(self, raw, _name, arguments):
        raw, value = await self._upstream.send(raw)
        guard = self._guard
        if not isinstance(value, bytes) or isinstance(value, (Failure, Simple)):
            return raw
        lag = int(1000 * guard.index_lag_seconds) if guard.index_lag_seconds < 1e6 else 1_000_000_000
        facts = {"indexes": len(guard.indexes), "backfilling": guard.is_backfilling(), "lag_milliseconds": lag}
        return encode(told.server_info(value, arguments, guard.profile, **facts))

    async def _module(self, raw, _name, arguments):
        if [one.upper() for one in arguments] == [b"LIST"]:
            return encode(told.modules(self._guard.profile))
        return await self._pass(raw)

    async def _cluster(self, raw, _name, arguments):
        asked = arguments[0].upper() if arguments else b""
        raw, value = await self._upstream.send(raw)
        if isinstance(value, Failure):
            return raw
        if asked in {b"SLOTS", b"SHARDS"}:
            return encode(told.with_ports(value, self._guard.ports))
        if asked in {b"NODES", b"REPLICAS", b"SLAVES"}:
            told_anew = told.with_ports_in_text
            return encode(
                [told_anew(one, self._guard.ports) for one in value]
                if isinstance(value, list)
                else told_anew(value, self._guard.ports)
            )
        return raw

    async def _command(self, raw, _name, arguments):
        raw, value = await self._upstream.send(raw)
        if isinstance(value, list) and (not arguments or arguments[0].upper() == b"INFO"):
            return encode(told.commands(value, self._guard.profile, keep_gaps=bool(arguments)))
        return raw

    async def _flush(self, raw, _name, _arguments):
        reply = await self._pass(raw)
        if reply == OK:
            self._guard.indexes.clear()
        return reply


_ANSWERS = {
    "AUTH": Session._auth,
    "HELLO": Session._hello,
    "MULTI": Session._multi,
    "EXEC": Session._exec,
    "DISCARD": Session._exec,
    "RESET": Session._reset,
    "EVAL": Session._script,
    "EVAL_RO": Session._script,
    "SCRIPT": Session._script,
    "INFO": Session._info,
    "MODULE": Session._module,
    "CLUSTER": Session._cluster,
    "COMMAND": Session._command,
    "FLUSHALL": Session._flush,
    "FLUSHDB": Session._flush,
}
