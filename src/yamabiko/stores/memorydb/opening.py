"""What is looked at when a cache is opened: rights, whose cache it is, and an index that fits (made if there is none).

Nothing here leans on a command that an access string may forbid without harm: where FT.INFO or INFO is denied, what it
would have told stays unchecked.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from yamabiko.errors import ConfigurationError, StoreMismatch
from yamabiko.stores.memorydb import dialect
from yamabiko.stores.memorydb.connection import Connection, Script
from yamabiko.stores.memorydb.dialect import MAX_DIM, MAX_INDEXES, IndexDescription, Meaning, Profile
from yamabiko.stores.memorydb.failures import Denied, IndexUnavailable, NoSearch, Refused, access_string
from yamabiko.stores.memorydb.layout import FORMAT, Layout

_CLAIM: Final = """
local kept = redis.call('HMGET', KEYS[1], 'format', 'embedder', 'dim')
if kept[1] or kept[2] or kept[3] or ARGV[4] == '' then return kept end
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'embedder', ARGV[2], 'dim', ARGV[3])
return {ARGV[1], ARGV[2], ARGV[3]}
"""
"""Whose cache this is; it becomes ours where it was nobody's."""

_TRY: Final = """
local key, missing = KEYS[1], {}
local function try(...)
    local reply = redis.pcall(...)
    local said = type(reply) == 'table' and reply.err
    if said and not string.find(said, 'WRONGTYPE', 1, true) then missing[#missing + 1] = said end
end
try('TIME') try('EXISTS', key) try('DEL', key) try('UNLINK', key)
try('HSET', key, 'a', 1) try('HINCRBY', key, 'a', 1) try('HGET', key, 'a') try('HMGET', key, 'a') try('HLEN', key)
try('HEXISTS', key, 'a') try('HDEL', key, 'b') try('PEXPIRE', key, 10000) try('PTTL', key) try('PEXPIRETIME', key)
try('PERSIST', key) try('SCAN', 0, 'COUNT', 1) try('DEL', key)
try('ZADD', key, 1, 'a') try('ZSCORE', key, 'a') try('ZCARD', key) try('ZRANGE', key, 0, 0)
try('ZREMRANGEBYSCORE', key, 5, 6) try('ZREM', key, 'a') try('DEL', key)
try('XADD', key, '1-1', 'a', 1) try('XRANGE', key, '-', '+', 'COUNT', 1) try('XDEL', key, '1-1') try('DEL', key)
try('SET', key, 1, 'PX', 10000) try('INCR', key) try('GET', key) try('DEL', key)
return missing
"""
"""The commands that the scripts consist of, on a key that nobody else has: a right that is missing is named now."""


@cache
def _claim() -> Script:
    return Script.of(_CLAIM)


async def prepare(connection: Connection, layout: Layout, *, embedder: str, dim: int, beside: bool = False) -> Profile:
    """See that the cache can be used as it is to be used; whose dialect the server speaks.

    ``beside``: for another embedder than the cache was made for. Raises ``ConfigurationError`` for what only a person
    can mend (no search, a missing right, too many indexes, too large vectors), ``StoreMismatch`` for a cache or an
    index that was made for something else, ``StoreUnavailable``.
    """
    try:
        await _check_rights(connection, layout)
        profile = await _profile(connection)
        if layout.indexed:
            await _check_search(connection, layout, profile)
        kept = await recorded(connection, layout, claim=not beside)  # after all that may make somebody choose anew
        if kept is not None and kept != (embedder, dim) and not beside:
            raise StoreMismatch(
                f"the cache {layout.name} is for the embedder {kept[0]!r} with dim {kept[1]}, not for the embedder "
                f"{embedder!r} with dim {dim}: use that embedder, or another cache (name= in the URL), or embed its "
                "entries anew"
            )
        return await make_index(connection, layout, profile) if layout.indexed else profile
    except Denied as error:
        raise ConfigurationError(
            f"the user of this URL lacks a right ({error.said}): its access string must hold at least "
            f"{access_string(layout.name)}"
        ) from None
    except NoSearch as error:
        raise ConfigurationError(str(error)) from None
    except Refused as error:
        raise ConfigurationError(_refusal(error, layout)) from None


def _refusal(error: Refused, layout: Layout) -> str:
    match error.meaning:
        case Meaning.TOO_MANY:
            return (
                f"{error}: MemoryDB has {MAX_INDEXES} indexes at most: drop one that nobody uses with FT.DROPINDEX "
                "(FT._LIST names them), or put caches of one embedder under one name"
            )
        case Meaning.UNKNOWN_COMMAND:
            return f"{error}: the server must know EVAL and EVALSHA; Valkey 7.2, Redis 7.0 and later do"
    return f"the index {layout.index} can't be made or read: {error}"


async def recorded(connection: Connection, layout: Layout, *, claim: bool = False) -> tuple[str, int] | None:
    """Embedder and dimension that the cache was made for; None where there is none. ``claim`` makes it ours then.

    Raises ``StoreMismatch`` for a cache in a newer format.
    """
    ours = (FORMAT, layout.embedder, layout.dim, "claim" if claim else "")
    format_, embedder, dim = await connection.run(_claim(), (layout.meta,), ours)
    if embedder is None or dim is None or not dim.isdigit():
        return None
    if format_ != str(FORMAT).encode():
        raise StoreMismatch(
            f"the cache {layout.name} has format {(format_ or b'?').decode()}, this release knows {FORMAT}: "
            "upgrade yamabiko, or use another cache (name= in the URL)"
        )
    return embedder.decode("utf-8", "replace"), int(dim)


async def _check_rights(connection: Connection, layout: Layout) -> None:
    # By EVAL: with EVALSHA that right would not be missed before the server has forgotten a script.
    missing = await connection.command("EVAL", _TRY, 1, f"{layout.shared}trial")
    for said in (text.decode("utf-8", "replace") for text in missing):
        meant = dialect.meaning(said)  # anything else, a full server for example, shows where it does harm
        if meant is Meaning.DENIED:
            raise Denied(said, said)
        if meant is Meaning.UNKNOWN_COMMAND:
            raise Refused(said, meant)


async def _check_search(connection: Connection, layout: Layout, profile: Profile) -> None:
    """See that this embedder's vectors can be searched there; nothing is made yet."""
    if connection.address.search == "range" and profile.startswith("valkey-search"):
        raise ConfigurationError(f"{profile} knows no search by range: take search=range out of the URL")
    if layout.dim > MAX_DIM[profile]:
        raise ConfigurationError(
            f"vectors of {layout.dim} components are too large for {profile}, which takes {MAX_DIM[profile]}: "
            "use an embedder with fewer"
        )
    await _description(connection, layout)  # raises where there is no search


async def _profile(connection: Connection) -> Profile:
    """Of the address, else what INFO betrays, else the one with the narrowest limits."""
    if connection.address.profile is not None:
        return connection.address.profile
    try:
        text = await connection.command("INFO", "everything")
    except (Denied, Refused):
        text = b""
    found = dialect.profile_of(text.decode("utf-8", "replace"))
    return found or ("memorydb" if connection.address.scheme == "memorydb" else "valkey-search-1.0")


async def make_index(connection: Connection, layout: Layout, profile: Profile | None = None) -> Profile:
    """Make the index unless it is there; who speaks. Others may be doing the same.

    Raises ``StoreMismatch`` where it is there for something else, ``StoreUnavailable`` and ``StoreError``.
    """
    speaking = profile or connection.address.profile or "valkey-search-1.0"
    found = await _description(connection, layout)
    if found is None:
        try:
            await connection.command(*dialect.create_index(layout, layout.dim, speaking))
        except Refused as error:
            if error.meaning is not Meaning.EXISTS:
                raise
        found = await _description(connection, layout)
    if found is None:
        return speaking
    _check_fits(found, layout)
    return connection.address.profile or found.profile or speaking


async def _description(connection: Connection, layout: Layout) -> IndexDescription | None:
    """What FT.INFO says of the index; None where there is none, or it may not be asked."""
    try:
        reply = await connection.command("FT.INFO", layout.index)
    except NoSearch:
        raise
    except (Denied, IndexUnavailable):
        return None
    return dialect.describe(reply, layout.vector_field)


def _check_fits(found: IndexDescription, layout: Layout) -> None:
    """Whatever FT.INFO leaves out fits."""
    faults = []
    if found.dim not in (None, layout.dim):
        faults.append(f"its vectors have dim {found.dim}, not {layout.dim}")
    if found.metric not in (None, "COSINE"):
        faults.append(f"its metric is {found.metric}, not COSINE")
    if found.prefixes is not None and layout.prefix not in found.prefixes:
        faults.append(f"its prefixes are {', '.join(found.prefixes)}, not {layout.prefix}")
    wanted = {layout.scope_field: "TAG", layout.life_field: "NUMERIC", layout.vector_field: "VECTOR"}
    for field, kind in wanted.items():
        if found.fields and found.fields.get(field) != kind:
            faults.append(f"it has no {kind} field {field}")
    if faults:
        raise StoreMismatch(
            f"the index {layout.index} was made for something else ({'; '.join(faults)}): drop it with FT.DROPINDEX, "
            "which leaves the entries, and it is made anew; or use another cache (name= in the URL)"
        )
