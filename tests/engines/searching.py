"""FT.*: what the profile would answer, from what RediSearch answers."""

import re

from engines import told
from engines.indexes import Cursor, Definition, refuse_unknown
from engines.profiles import Refusal, syntax
from engines.resp import Failure, encode
from engines.searches import Search, parse_aggregate

_EXISTS = re.compile(rb"already exists", re.IGNORECASE)
_UNKNOWN = re.compile(rb"no such index|unknown index", re.IGNORECASE)


class Searching:
    """``ask(words)`` sends a command to the engine on the client's own connection, with the client's own rights."""

    def __init__(self, guard, ask):
        self._guard = guard
        self._send = ask

    async def answer(self, name, arguments) -> bytes:
        cursor = Cursor(arguments)
        return await _ANSWERS[name](self, name, cursor, arguments)

    async def _ask(self, words, index=""):
        raw, value = await self._send(words)
        if isinstance(value, Failure):
            if _EXISTS.search(value):
                raise Refusal("exists", index=index)
            if _UNKNOWN.search(value):
                self._guard.indexes.pop(index, None)
                raise refuse_unknown(index)
        return raw, value

    async def _known(self, name) -> Definition:
        definition = await self._guard.definition(name)
        if definition is None:
            raise refuse_unknown(name)
        return definition

    async def _refuse_backfilling(self, definition):
        guard = self._guard
        if not guard.profile.waits_for_index and await guard.really_backfilling(definition.name):
            raise Refusal("backfilling", index=definition.name)

    # Definitions

    async def _create(self, _name, _cursor, arguments):
        guard = self._guard
        definition = Definition.parse(arguments, guard.profile)
        if definition.name not in guard.indexes and len(guard.indexes) >= guard.profile.max_indexes:
            await guard.forget_lost_indexes()
            if await guard.definition(definition.name) is None and len(guard.indexes) >= guard.profile.max_indexes:
                raise Refusal("too_many_indexes", limit=guard.profile.max_indexes)
        raw, value = await self._ask(definition.forwarded(), definition.name)
        if not isinstance(value, Failure):
            guard.remember(definition)
            if not guard.shows_real_backfill:
                await guard.wait_for_backfill(definition.name)
        return raw

    async def _drop(self, name, cursor, arguments):
        if len(arguments) != 1:
            raise Refusal("told", what=f"ERR wrong number of arguments for '{name}' command")
        index = cursor.take("the index name")
        raw, value = await self._ask([name, index], index)
        if not isinstance(value, Failure):
            self._guard.indexes.pop(index, None)
        return raw

    async def _list(self, name, cursor, _arguments):
        cursor.end()
        return (await self._ask([name]))[0]

    async def _info(self, name, cursor, _arguments):
        guard = self._guard
        index = cursor.take("the index name")
        if guard.profile.module_version >= 10200:
            cursor.word("LOCAL", "PRIMARY", "CLUSTER")
        cursor.end()
        raw, value = await self._ask([name, index], index)
        if isinstance(value, Failure):
            return raw
        definition = await self._known(index)
        lag = int(1000 * min(guard.index_lag_seconds, 1e6))
        state = {"backfilling": await guard.really_backfilling(definition.name), "shape": guard.info_shape}
        return encode(told.index_info(value, definition, guard.profile, **state, lag_milliseconds=lag))

    async def _alias(self, name, cursor, _arguments):
        guard = self._guard
        alias = cursor.take("the alias")
        index = None if name == "FT.ALIASDEL" else cursor.take("the index name")
        cursor.end()
        if index is not None:
            await self._known(index)
        raw, value = await self._ask([name, alias] if index is None else [name, alias, index], index or alias)
        if not isinstance(value, Failure):
            if index is None:
                guard.aliases.pop(alias, None)
            else:
                guard.aliases[alias] = index
        return raw

    async def _aliases(self, _name, cursor, _arguments):
        cursor.end()
        return encode([word for pair in self._guard.aliases.items() for word in pair])

    # Searches

    async def _parsed(self, cursor) -> Search:
        name = cursor.take("the index name")
        definition = await self._known(name)
        search = Search.parse(cursor, name, definition, self._guard.profile)
        await self._refuse_backfilling(definition)
        return search

    async def _search(self, _name, cursor, _arguments):
        guard = self._guard
        search = await self._parsed(cursor)
        hidden = await guard.hidden(search.definition)
        special = hidden or guard.nil_rows or guard.ghosts or guard.order != "nearest"
        expired = guard.profile.waits_for_index  # such keys are neither listed nor counted there
        paged = not special and not expired
        words = search.forwarded(more=len(hidden), nearest=guard.order != "document", paged=paged)
        raw, value = await self._ask(words, search.name)
        if isinstance(value, Failure) or paged:
            return raw
        return encode(self._rows(search, value, hidden))

    def _rows(self, search, reply, hidden):
        """The reply with the rows that this profile and the test's wishes leave, in their order."""
        guard = self._guard
        total, rows = reply[0], _split(reply, search.keys_only)
        left = [row for row in rows if row[0] not in hidden]
        if guard.profile.waits_for_index:
            left = [row for row in left if search.keys_only or row[1] is not None]
        total -= len(rows) - len(left)
        if search.query.k is not None:
            left, total = left[: search.query.k], min(total, search.query.k)
        ghosts = [[key, [search.query.score, str(distance)]] for key, distance in guard.ghosts]
        left, total = [*ghosts, *left], total + len(ghosts)
        if guard.order == "reversed":
            left.reverse()
        left = left[search.offset : search.offset + search.limit]
        nil = guard.nil_rows
        left = [[row[0], None] if nil is True or (nil and row[0] in nil) else row for row in left]
        return [total, *(word for row in left for word in (row[:1] if search.keys_only else row))]

    async def _aggregate(self, _name, cursor, _arguments):
        name = cursor.take("the index name")
        definition = await self._known(name)
        words = parse_aggregate(cursor, name, definition, self._guard.profile)
        await self._refuse_backfilling(definition)
        return (await self._ask(words, name))[0]

    async def _explain(self, name, cursor, _arguments):
        search = await self._parsed(cursor)
        words = [name, search.name, search.query.text(), "DIALECT", 2]
        return (await self._ask(words, search.name))[0]

    async def _profile(self, name, cursor, _arguments):
        index = cursor.take("the index name")
        definition = await self._known(index)
        if not cursor.word("SEARCH"):
            raise syntax("only FT.PROFILE ... SEARCH is carried")
        limited = ["LIMITED"] if cursor.word("LIMITED") else []
        if not cursor.word("QUERY"):
            raise syntax("Missing QUERY")
        search = Search.parse(cursor, index, definition, self._guard.profile)
        await self._refuse_backfilling(definition)
        words = search.forwarded(paged=True)
        return (await self._ask([name, index, "SEARCH", *limited, "QUERY", *words[2:]], index))[0]


def _split(reply, keys_only):
    if keys_only:
        return [[key] for key in reply[1:]]
    return [[reply[at], reply[at + 1]] for at in range(1, len(reply), 2)]


_ANSWERS = {
    "FT.CREATE": Searching._create,
    "FT.DROPINDEX": Searching._drop,
    "FT._LIST": Searching._list,
    "FT.INFO": Searching._info,
    "FT.ALIASADD": Searching._alias,
    "FT.ALIASUPDATE": Searching._alias,
    "FT.ALIASDEL": Searching._alias,
    "FT._ALIASLIST": Searching._aliases,
    "FT.SEARCH": Searching._search,
    "FT.AGGREGATE": Searching._aggregate,
    "FT.EXPLAIN": Searching._explain,
    "FT.EXPLAINCLI": Searching._explain,
    "FT.PROFILE": Searching._profile,
}
