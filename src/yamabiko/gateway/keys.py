"""The table of keys: who may call and who may administer, by the hashes of their keys; read from a TOML file.

::

    unknown = "refuse"  # or "own": any other credential is a tenant of its own, by its digest

    [limits]  # of every tenant that has none of its own
    requests_per_minute = 600

    [tenants.acme]
    requests_per_minute = 6000
    cache_bytes = "512MiB"
    models = ["gpt-5-mini"]

    [[keys]]  # as `yamabiko key new --tenant acme` prints it
    hash = "..."
    tenant = "acme"
    user = "alice"  # where the key is one person's
    permissions = ["hr", "人事"]  # labels of documents that its answers may be made from

    [[keys]]
    hash = "..."
    role = "admin"
    tenant = "acme"  # or "*": all tenants

    [trusted]  # an authenticating proxy in front
    peers = ["10.0.0.0/8"]

A key is 32 random bytes, so one SHA-256 is all the hashing that it needs: there is nothing to guess, and a salt or a
slow hash would protect nobody. Pure: the text of the file comes in.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hmac import compare_digest
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias

from yamabiko.errors import ConfigurationError
from yamabiko.gateway.exchange import Limits
from yamabiko.units import parse_bytes

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
"""What a tenant or a user may be called. Without a colon: no name passes for a digest (``key:...``)."""
_LABEL = re.compile(r"[^\s,](?:[^,]{0,126}[^\s,])?")
"""What a permission may be called: any printable text without a comma, which parts them in a header."""
MOST_LABELS = 100
EVERY_TENANT = "*"
_PURPOSE = b"yamabiko.key.1\0"
_HASH = re.compile("[0-9a-f]{64}")
_HEADER = re.compile("x-yamabiko-[a-z0-9-]{1,40}")
_NOBODY = bytes(32)


def hash_of(key: bytes) -> bytes:
    """The SHA-256 (32 bytes) by which the table knows a key."""
    return hashlib.sha256(_PURPOSE + key).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the table. ``expires``: seconds UTC epoch. ``tenant`` is ``*`` for an administrator of all."""

    hash: bytes = field(repr=False)
    role: Literal["client", "admin"]
    tenant: str
    user: str = ""
    permissions: tuple[str, ...] = field(default=(), repr=False)
    expires: float | None = None

    @property
    def digest(self) -> str:
        """Names the key in logs."""
        return self.hash.hex()[:16]

    def rules(self, tenant: str) -> bool:
        """Whether it administers this tenant."""
        return self.role == "admin" and self.tenant in (EVERY_TENANT, tenant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Who may say by headers who calls, and what they may read: ``peers`` are addresses of authenticating proxies."""

    peers: tuple[Network, ...] = ()
    header: bytes = b"x-yamabiko-tenant"
    user_header: bytes = b"x-yamabiko-user"
    permissions_header: bytes = b"x-yamabiko-permissions"

    def is_peer(self, address: str) -> bool:
        """Whether a connection from this address is from such a proxy."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self.peers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the file says. ``unknown``: what becomes of a credential that is not in it."""

    keys: tuple[Key, ...] = ()
    limits: Mapping[str, Limits] = field(default_factory=dict)
    default: Limits = field(default_factory=Limits)
    unknown: Literal["refuse", "own"] = "refuse"
    trusted: Trusted = Trusted()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``ConfigurationError``; the message names the place and never a hash."""
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"the table of keys is not TOML: {error}") from None
        _only(tree, "", ("unknown", "limits", "tenants", "keys", "trusted"))
        unknown = tree.get("unknown", "refuse")
        if unknown not in ("refuse", "own"):
            raise ConfigurationError('unknown must be "refuse" or "own"')
        keys = tuple(_key(number, one) for number, one in enumerate(_listed(tree, "keys"), 1))
        if len({key.hash for key in keys}) != len(keys):
            raise ConfigurationError("two of the keys have the same hash: each line stands for a key of its own")
        tenants = {
            _name(name, "tenants"): _limits(one, f"tenants.{name}.") for name, one in _part(tree, "tenants").items()
        }
        return cls(
            keys=keys,
            limits=MappingProxyType(tenants),
            default=_limits(_part(tree, "limits"), "limits."),
            unknown=unknown,
            trusted=_trusted(_part(tree, "trusted")),
        )

    def find(self, given: bytes, *, now: float) -> Key | None:
        """The key, if it is one of ours and has not expired.

        Every hash is compared, each in constant time, so that nothing tells which one fitted or whether any did.
        """
        digest, found = hash_of(given), None
        for key in self.keys:
            if compare_digest(key.hash, digest):
                found = key
        return None if found is None or (found.expires is not None and found.expires <= now) else found

    def limits_of(self, tenant: str) -> Limits:
        """What a tenant may use."""
        return self.limits.get(tenant, self.default)


def lines_for(
    key: str,
    *,
    tenant: str,
    user: str = "",
    role: Literal["client", "admin"] = "client",
    permissions: Sequence[str] = (),
    expires: datetime | None = None,
) -> str:
    """The lines of the table for a new key, which they don't hold. Raises ``ConfigurationError``."""
    lines = ["[[keys]]", f'hash = "{hash_of(key.encode()).hex()}"', f"tenant = {_quoted(tenant)}"]
    lines += [f"user = {_quoted(user)}"] if user else []
    lines += [f'role = "{role}"'] if role != "client" else []
    labels = list(labels_of(list(permissions), "the key"))
    lines += [f"permissions = {json.dumps(labels, ensure_ascii=False)}"] if labels else []
    lines += [f"expires = {expires.isoformat()}"] if expires is not None else []
    text = "\n".join(lines) + "\n"
    Table.parse(text)
    return text


def _quoted(name: str) -> str:
    """A name in TOML; one that would need more than quotes is none."""
    if name != EVERY_TENANT:
        _name(name, "the key")
    return f'"{name}"'


def _key(number: int, tree: object) -> Key:
    where = f"keys, number {number}: "
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{where}each key is a table of its own: [[keys]]")
    _only(tree, where, ("hash", "tenant", "user", "role", "permissions", "expires"))
    digest, role, user = tree.get("hash"), tree.get("role", "client"), tree.get("user", "")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ConfigurationError(f"{where}hash must be the 64 hexadecimal digits that `yamabiko key new` prints")
    if role not in ("client", "admin"):
        raise ConfigurationError(f'{where}role must be "client" or "admin"')
    tenant = tree.get("tenant", "")
    if not (tenant == EVERY_TENANT and role == "admin"):
        tenant = _name(tenant, where + "tenant")
    if user != "":
        user = _name(user, where + "user")
    held = labels_of(tree.get("permissions", []), where + "permissions")
    if held and role == "admin":
        raise ConfigurationError(f"{where}an admin key asks no model, so it holds no permissions")
    expires = _time(tree.get("expires"), where)
    return Key(hash=bytes.fromhex(digest), role=role, tenant=tenant, user=user, permissions=held, expires=expires)


def _time(value: object, where: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{where}expires must be a date and time, such as 2030-01-01T00:00:00Z")
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()


def _limits(tree: object, where: str) -> Limits:
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{where.rstrip('.')} must be a table")
    _only(tree, where, ("requests_per_minute", "cache_bytes", "models"))
    rate, size, models = tree.get("requests_per_minute"), tree.get("cache_bytes"), tree.get("models")
    if isinstance(size, str):
        try:
            size = parse_bytes(size)
        except ValueError:
            size = -1
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise ConfigurationError(f"{where}requests_per_minute must be a whole number from 1 on")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise ConfigurationError(f"{where}cache_bytes must be in bytes or as in 512MiB")
    if models is not None and not (isinstance(models, list) and all(isinstance(one, str) and one for one in models)):
        raise ConfigurationError(f"{where}models must be a list of names")
    return Limits(requests_per_minute=rate, cache_bytes=size, models=None if models is None else frozenset(models))


def _trusted(tree: Mapping[str, Any]) -> Trusted:
    said = ("header", "user_header", "permissions_header")
    _only(tree, "trusted.", ("peers", *said))
    names = {name: tree.get(name, getattr(Trusted(), name).decode()) for name in said}
    for name, header in names.items():
        if not isinstance(header, str) or not _HEADER.fullmatch(header.lower()):
            raise ConfigurationError(f"trusted.{name} must begin with x-yamabiko-: those never reach an upstream")
    try:
        peers = tuple(ipaddress.ip_network(peer) for peer in _listed(tree, "peers"))
    except ValueError:
        raise ConfigurationError('trusted.peers must be a list of addresses or networks: ["10.0.0.0/8"]') from None
    return Trusted(peers=peers, **{name: header.lower().encode() for name, header in names.items()})


def labels_of(value: object, where: str) -> tuple[str, ...]:
    """Permissions, each once and sorted. Raises ``ConfigurationError``, which repeats none of them."""
    if not isinstance(value, list | tuple) or len(value) > MOST_LABELS:
        raise ConfigurationError(f"{where}: permissions are a list of at most {MOST_LABELS} labels")
    if not all(isinstance(one, str) and _LABEL.fullmatch(one) and one.isprintable() for one in value):
        raise ConfigurationError(
            f"{where}: a permission is 1 to 128 printable characters without a comma, and no space at its ends"
        )
    return tuple(sorted(set(value)))


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigurationError(
            f"{where}: a name is 1 to 128 letters, digits and . _ @ + -, beginning with one of the former"
        )
    return value


def _part(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name, {})
    if not isinstance(found, dict):
        raise ConfigurationError(f"{name} must be a table: [{name}]")
    return found


def _listed(tree: Mapping[str, Any], name: str) -> list[Any]:
    found = tree.get(name, [])
    if not isinstance(found, list):
        raise ConfigurationError(f"{name} must be a list")
    return found


def _only(tree: Mapping[str, Any], where: str, known: tuple[str, ...]) -> None:
    unknown = sorted(tree.keys() - set(known))
    if unknown:
        raise ConfigurationError(f"{where}there is no {unknown[0]!r:.40}: there are {', '.join(known)}")
