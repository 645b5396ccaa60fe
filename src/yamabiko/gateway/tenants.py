"""Who calls: from a credential to tenant, user and permissions, before anything of the request's body is read.

Three ways, the first that fits: a key of the table (``keys.py``), a header from a proxy that has authenticated the
caller and whose address is configured, and the digest of the credential that is meant for the upstream. Whoever has
none of these shares nothing with anybody. Nothing here holds, logs or shows a credential: only digests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from yamabiko.errors import ConfigurationError
from yamabiko.gateway.exchange import Caller, Headers, Refused, Scope, by_credential
from yamabiko.gateway.headers import KEY_PREFIX
from yamabiko.gateway.keys import EVERY_TENANT, MOST_LABELS, NAME, Key, Table, labels_of
from yamabiko.gateway.limits import Buckets
from yamabiko.settings import GatewaySettings

LOOK_AGAIN_SECONDS = 1.0
"""How soon a change of the file is seen."""
KEY_HEADER = b"x-yamabiko-key"
"""Our key beside the client's own for the upstream, which then passes on."""
_HEADERS = (KEY_HEADER, b"authorization", b"x-api-key", b"api-key")
"""Where a key of ours may stand; the strongest first."""
_log = logging.getLogger("yamabiko.gateway")


class KeyFile:
    """The table in a file, read again when it has changed. What can't be read leaves the one before in force.

    ``clock`` gives seconds that only rise. Raises ``ConfigurationError`` where it can't be read at first.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._seen = self._stamp()
        self._table = self._read()

    def __call__(self) -> Table:
        """The table as it is now, give or take ``LOOK_AGAIN_SECONDS``."""
        now = self._clock()
        if now - self._looked >= LOOK_AGAIN_SECONDS:
            self._looked = now
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._table = self._read()
                except ConfigurationError as error:
                    _log.warning("the table of keys stays as it was: %s", error)
        return self._table

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Table:
        try:
            return Table.parse(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigurationError(f"the table of keys can't be read: {why}") from None


def table_of(settings: GatewaySettings) -> Callable[[], Table]:
    """The table that the settings name; without one, each credential is a tenant of its own and nobody administers.

    Raises ``ConfigurationError``.
    """
    if settings.tenants_path:
        return KeyFile(Path(settings.tenants_path))
    table = Table(unknown="own")
    return lambda: table


class Tenants:
    """Says who calls (an ``Identify``) and who may administer.

    ``table`` gives the table in force. ``clock``: seconds that only rise, ``now``: seconds UTC epoch.
    """

    def __init__(
        self,
        table: Callable[[], Table],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._clock = clock
        self._now = now
        self._buckets = Buckets()

    def __call__(self, scope: Scope) -> Caller:
        """Who calls. Raises ``Refused``: 400, 401, 403, or 429 where a tenant has used up its requests."""
        caller = self.who(scope)
        per_minute = caller.limits.requests_per_minute
        if per_minute is not None:
            wait = self._buckets.take(caller.tenant, per_minute, self._clock())
            if wait:
                raise Refused(
                    429,
                    "rate_limit_exceeded",
                    f"this tenant may make {per_minute} requests per minute, and has made them",
                    headers=((b"retry-after", b"%d" % -(-wait // 1)),),
                )
        return caller

    def who(self, scope: Scope) -> Caller:
        """Who calls, without counting it. Raises ``Refused``: 400, 401 or 403."""
        table, headers = self._table(), scope["headers"]
        found = self._key(table, headers)
        if found is not None:
            if found.role == "admin":
                raise Refused(403, "admin_key", "an admin key asks no model: make a key for this client")
            held = found.permissions
            return _limited(Caller(tenant=found.tenant, user=found.user, permissions=held, digest=found.digest), table)
        proxied = _by_proxy(scope, table)
        if proxied is not None:
            return proxied
        if table.unknown == "refuse":
            raise _unknown()
        caller = by_credential(scope)
        return caller if caller.apart else _limited(caller, table)

    def administrator(self, scope: Scope) -> Key:
        """The admin key of a request. Raises ``Refused`` with 401 where there is none, 403 for a client's key."""
        found = self._key(self._table(), scope["headers"])
        if found is None:
            raise Refused(401, "no_admin_key", "this needs an admin key, as Authorization: Bearer KEY", headers=_BEARER)
        if found.role != "admin":
            raise Refused(403, "no_admin_key", "this key is a client's, and this needs an admin key")
        return found

    def is_administrator(self, scope: Scope) -> bool:
        """Whether the request has an admin key."""
        found = self._key(self._table(), scope["headers"])
        return found is not None and found.role == "admin"

    def _key(self, table: Table, headers: Headers) -> Key | None:
        """The key of the table that is given, None where none of ours is. Raises ``Refused`` for one that is wrong."""
        given = credential(headers)
        if given is None:
            return None
        found = table.find(given, now=self._now())
        if found is None:
            raise _unknown()
        return found


def credential(headers: Headers) -> bytes | None:
    """The key of ours that a request brings, by its prefix. Raises ``Refused`` where it brings two."""
    given = {}
    for name, value in headers:
        if name in _HEADERS:
            bare = value.strip()
            bare = bare[7:].strip() if bare[:7].lower() == b"bearer " else bare
            if bare.startswith(KEY_PREFIX) or name == KEY_HEADER:
                given[bare] = name
    if len(given) > 1:
        raise Refused(400, "two_keys", "the request has two different keys of this gateway: send one")
    return next(iter(given), None)


def _by_proxy(scope: Scope, table: Table) -> Caller | None:
    """Who calls, as an authenticating proxy says. Raises ``Refused`` where somebody else says it."""
    trusted, headers = table.trusted, scope["headers"]
    tenants = [value for name, value in headers if name == trusted.header]
    users = [value for name, value in headers if name == trusted.user_header]
    held = [value for name, value in headers if name == trusted.permissions_header]
    if not tenants and not users and not held:
        return None
    peer = (scope.get("client") or ("", 0))[0]
    if not trusted.is_peer(peer):
        raise Refused(403, "not_trusted", "only an authenticating proxy may say who calls, and this address is none")
    names = [value.decode("latin-1") for value in (*tenants, *users)]
    if len(tenants) != 1 or len(users) > 1 or not all(NAME.fullmatch(name) for name in names):
        raise Refused(400, "bad_identity", "the proxy must name one tenant and at most one user, in letters and digits")
    digest = f"proxy:{names[0]}"[:32]
    caller = Caller(tenant=names[0], user=names[1] if users else "", permissions=_permitted(held), digest=digest)
    return _limited(caller, table)


def _permitted(held: list[bytes]) -> tuple[str, ...]:
    """The permissions in a proxy's header: one line, so that none that a client sent can stand beside it."""
    try:
        (line,) = held or (b"",)
        labels = [label.strip(" \t") for label in line.decode("utf-8").split(",")] if line.strip(b" \t") else []
        return labels_of(labels, "the header")
    except (ValueError, ConfigurationError):
        why = f"the proxy must name permissions in one header, in UTF-8, parted by commas, at most {MOST_LABELS}"
        raise Refused(400, "bad_identity", why) from None


def _limited(caller: Caller, table: Table) -> Caller:
    limits = table.limits_of(caller.tenant)
    return caller if limits == caller.limits else replace(caller, limits=limits)


_BEARER = ((b"www-authenticate", b'Bearer realm="yamabiko"'),)


def _unknown() -> Refused:
    return Refused(401, "invalid_api_key", "this gateway does not know the key that the request has", headers=_BEARER)


def scope_of(administrator: Key) -> str | None:
    """The one tenant that an administrator is for; None for all."""
    return None if administrator.tenant == EVERY_TENANT else administrator.tenant
