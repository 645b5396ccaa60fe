"""What can go wrong on the way to the server and back, as our own errors with what to do about it. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from yamabiko.errors import ConfigurationError, MissingExtra, StoreError, StoreUnavailable, YamabikoError
from yamabiko.stores.memorydb.dialect import Meaning, meaning

try:
    from redis import exceptions as redis_errors
except ModuleNotFoundError as error:
    raise MissingExtra("memorydb", "A store on MemoryDB, Valkey or Redis") from error

__all__ = [
    "ACCESS_STRING",
    "NO_SEARCH_ADVICE",
    "Denied",
    "IndexUnavailable",
    "NoSearch",
    "OutOfMemory",
    "OutOfTime",
    "Refused",
    "access_string",
    "full_text",
    "redis_errors",
    "translate",
]

ACCESS_STRING: Final = (
    "on ~NAME:* resetchannels -@all +@read +@write +@connection -@dangerous +@search"
    " +eval +evalsha +time +info +cluster|slots"
)
"""The least rights that a user needs, NAME being the cache's name.

The scripts' own commands are in ``@read`` and ``@write``, all but ``time``; ``eval`` and ``evalsha`` are in neither.
``info`` and ``cluster|slots`` may be left out: their answers are then guessed from the URL and from MOVED.
RediSearch has no category ``@search``: write ``+ft.create +ft.info +ft.search`` there.
"""


def access_string(name: str) -> str:
    """``ACCESS_STRING`` for a cache."""
    return ACCESS_STRING.replace("NAME", name)


class OutOfMemory(StoreUnavailable):
    """The server has no memory left for a write, and nothing that its policy lets it evict; reading goes on."""


class OutOfTime(StoreUnavailable):
    """A search took longer than the TIMEOUT that it was sent with."""


class IndexUnavailable(StoreUnavailable):
    """The index is being built, or is ``gone`` and has to be made again; look-ups by key go on meanwhile.

    ``gone`` is true only for the search that the server told so. Those that fail at once in the second after are not
    told: one who makes the index again is enough.
    """

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class NoSearch(IndexUnavailable):
    """The server has no FT commands at all."""


class Denied(StoreUnavailable):
    """The user lacks a right; ``said`` is the server's text, which names the command or the key."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class Refused(StoreError):
    """The server answered with an error that waiting won't mend; ``meaning`` sorts it."""

    def __init__(self, message: str, meaning: Meaning) -> None:
        super().__init__(message)
        self.meaning = meaning


def full_text(error: Exception) -> str:
    """An error reply with the code that redis-py has cut off."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code and code != "ERR" else str(error)


def translate(
    error: BaseException, where: str, *, timeout_seconds: float, opening: bool = False, hint: str = ""
) -> YamabikoError:
    """An exception of redis-py, of a socket or of a clock in our terms.

    ``where`` names the server. ``opening``: the first contact, at which somebody is there to mend what only a person
    can. Later the same is a ``StoreUnavailable``, since a person may mend it without starting us anew. ``hint``
    is said where nothing came back.
    """
    if isinstance(error, YamabikoError):
        return error
    personal = ConfigurationError if opening else StoreUnavailable
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return personal(
                f"the certificate of {where} is not trusted ({cause.verify_message}): name its authority with ?ca=FILE,"
                " and use the host name that the certificate is made out to"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return personal(f"{where} speaks no TLS: add ?tls=false, or use valkey:// or redis://")
    if isinstance(error, TimeoutError | redis_errors.TimeoutError):
        return StoreUnavailable(f"{where} has not answered within {timeout_seconds:g} seconds{hint}")
    if isinstance(error, OSError):
        return StoreUnavailable(f"{where} can't be reached: {error.strerror or type(error).__name__}{hint}")
    text = full_text(error) if isinstance(error, Exception) else ""
    meant = meaning(text)
    if meant is Meaning.CREDENTIALS:
        return personal(f"{where} refuses these credentials ({_shown(text)}): check user and password, or the token")
    if meant is Meaning.DENIED:
        message = f"the user may not do that on {where} ({_shown(text)}): it needs at least {ACCESS_STRING}"
        return ConfigurationError(message) if opening else Denied(message, _shown(text))
    if meant is Meaning.OTHER and not isinstance(error, redis_errors.ResponseError):
        return StoreUnavailable(f"{where} can't be reached: {_shown(text) or type(error).__name__}{hint}")
    reply = _reply(text, meant, where)
    return ConfigurationError(str(reply)) if opening and isinstance(reply, Refused) else reply


def _reply(text: str, meant: Meaning, where: str) -> YamabikoError:
    said = f"{where} says: {_shown(text)}"
    match meant:
        case Meaning.OUT_OF_MEMORY:
            return OutOfMemory(
                f"{said}: give it more memory, or a maxmemory-policy that evicts (volatile-lru or allkeys-lru)"
            )
        case Meaning.GONE:
            return IndexUnavailable(f"{said}: the index is made again", gone=True)
        case Meaning.BACKFILLING:
            return IndexUnavailable(f"{said}: search by meaning is back when the index is built")
        case Meaning.NO_SEARCH:
            return NoSearch(f"{where} has no search: {NO_SEARCH_ADVICE}")
        case Meaning.MOVED:
            return StoreUnavailable(f"{said}, and so do the others: the cluster is being changed")
        case Meaning.READ_ONLY:
            return StoreUnavailable(f"{where} is a replica, and no primary is known yet: it may be failing over")
        case Meaning.OUT_OF_TIME:
            return OutOfTime(said)
        case Meaning.BUSY:
            return StoreUnavailable(said)
    return Refused(said, meant)


NO_SEARCH_ADVICE = (
    "MemoryDB has it only where the cluster was created with a parameter group that has search-enabled=yes "
    "(default.memorydb-valkey7.search, for example), and it can't be switched on later; Valkey needs the valkey-search "
    "module and Redis the search module; an embedder of kind none needs no search at all"
)


def _shown(text: str) -> str:
    """The server's words without what a command's arguments said."""
    return text.partition(", with args beginning")[0].partition(" with args")[0][:200].rstrip(" .:,")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
