"""What a store's URL says: which server, who we are there, and which cache on it. Pure.

``memorydb://user@clustercfg.cache.abc123.memorydb.eu-west-1.amazonaws.com?auth=iam&name=support``

* ``memorydb``, ``valkeys`` and ``rediss`` speak TLS; ``valkey`` and ``redis`` don't; ``tls=true|false`` overrides that.
* Port 6379 is understood. User and password are percent-encoded where they hold ``:``, ``/``, ``?``, ``#`` or ``@``.
* A path of one number is the database, as ``db=`` is; MemoryDB and most clusters have only 0.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from yamabiko.errors import ConfigurationError
from yamabiko.stores.memorydb.dialect import PROFILES, Profile

SCHEMES: Final[Mapping[str, bool]] = MappingProxyType(
    {"memorydb": True, "valkey": False, "valkeys": True, "redis": False, "rediss": True}
)
"""Each scheme, and whether it speaks TLS."""

OPTIONS: Final = (
    "auth",
    "ca",
    "cluster",
    "cluster_name",
    "connect_timeout",
    "connections",
    "db",
    "name",
    "profile",
    "region",
    "replica_search",
    "search",
    "tls",
)
"""What the query of a URL may say about the server; anything else in it is a setting of the store."""

DEFAULT_NAME: Final = "yamabiko"
DEFAULT_PORT: Final = 6379
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_MEMORYDB: Final = re.compile(
    r"(?:clustercfg|[a-z0-9-]+?-\d{4}-\d{3})\.(?P<name>[a-z0-9-]+)\.[a-z0-9]+\.memorydb\.(?P<region>[a-z0-9-]+)"
    r"\.amazonaws\.com(?:\.cn)?\.?"
)
"""Source: MemoryDB developer guide, "Finding endpoints": a cluster's and a node's, read 2026-11-23."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Everything that a URL says. Made by ``parse``.

    ``cluster`` and ``profile`` are None where the server is to be asked, ``search`` where the profile decides. ``name``
    is the cache's, ``cluster_name`` and ``region`` are what IAM signs for. ``connections`` is how many a lane may have
    (1 to 256).
    """

    scheme: str
    host: str
    port: int = DEFAULT_PORT
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    name: str = DEFAULT_NAME
    cluster: bool | None = None
    db: int = 0
    profile: Profile | None = None
    auth: Literal["password", "iam"] = "password"
    region: str = ""
    cluster_name: str = ""
    replica_search: bool = False
    search: Literal["knn", "range"] | None = None
    connections: int = 8
    connect_timeout_seconds: float = 2.0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port} (cache {self.name})"

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address in a URL, whose query may hold nothing but ``OPTIONS``.

        Raises ``ConfigurationError``, whose message never holds user, password or token.
        """
        parts = _split(url)
        if parts.scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise ConfigurationError(f"the URL of a shared store begins with one of {known}")
        if parts.fragment or "#" in url:
            raise ConfigurationError("the URL has a # in it: write %23 where user, password or ca hold one")
        given = _options(parts.query)
        host, port = _server(parts)
        tls = _switch(given, "tls", SCHEMES[parts.scheme])
        auth, user, password = _login(parts, given, tls)
        region, cluster_name = _signed_for(host, given, auth)
        cluster = _switch(given, "cluster", None) if "cluster" in given else None
        address = cls(
            scheme=parts.scheme,
            host=host,
            port=port,
            user=user,
            password=password,
            tls=bool(tls),
            ca=given.get("ca", ""),
            name=_matching(given, "name", DEFAULT_NAME),
            cluster=cluster,
            db=_database(parts, given),
            profile=_profile(given),
            auth=auth,
            region=region,
            cluster_name=cluster_name,
            replica_search=bool(_switch(given, "replica_search", False)),
            search=_search(given),
            connections=int(_number(given, "connections", 8, 1, 256)),
            connect_timeout_seconds=_number(given, "connect_timeout", 2.0, 0.01, 60),
        )
        if address.ca and not address.tls:
            raise ConfigurationError("ca= is for TLS: use memorydb://, valkeys:// or rediss://, or add tls=true")
        return address


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        # urllib's own message may hold a part of the password.
        raise ConfigurationError(
            "the store's URL can't be read: it is scheme://user:password@host:port?options, with user and password"
            " percent-encoded, and an IPv6 host in [brackets]"
        ) from None
    return parts


def _options(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            nearest = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f"the store's URL has no option {name[:40]}; the nearest is {nearest}")
        if name in given:
            raise ConfigurationError(f"the store's URL says {name}= twice")
        given[name] = value
    return given


def _server(parts: SplitResult) -> tuple[str, int]:
    host = unquote(parts.hostname or "")
    try:
        fits = bool(_HOST.fullmatch(host)) or ipaddress.ip_address(host).version == 6
    except ValueError:
        fits = False
    if not fits or len(host) > 253:
        raise ConfigurationError("the store's URL names no host: it is scheme://host:6379?options")
    if parts.port == 0:
        raise ConfigurationError("a port is a number from 1 to 65535")
    return host, parts.port or DEFAULT_PORT


def _login(
    parts: SplitResult, given: Mapping[str, str], tls: bool | None
) -> tuple[Literal["password", "iam"], str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    match given.get("auth", "password"):
        case "password":
            if user and not password:
                raise ConfigurationError("the URL names a user but no password: add one, or auth=iam")
            return "password", user, password
        case "iam":
            if password:
                raise ConfigurationError("auth=iam makes its own tokens: take the password out of the URL")
            if not user:
                raise ConfigurationError("auth=iam needs the name of the ACL user: memorydb://USER@host?auth=iam")
            if not tls:
                raise ConfigurationError(
                    "auth=iam sends a token, and the server takes it over TLS only: drop tls=false"
                )
            return "iam", user, ""
    return _refuse("auth", "password or iam")


def _signed_for(host: str, given: Mapping[str, str], auth: str) -> tuple[str, str]:
    """Region and cluster name, from the options or from an endpoint of MemoryDB."""
    endpoint = _MEMORYDB.fullmatch(host.lower())
    region = given.get("region") or (endpoint["region"] if endpoint else "")
    cluster_name = given.get("cluster_name") or (endpoint["name"] if endpoint else "")
    for name, value in (("region", region), ("cluster_name", cluster_name)):
        if auth == "iam" and not value:
            raise ConfigurationError(f"auth=iam needs {name}= where the host is not an endpoint of MemoryDB")
        if value and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", value.lower()):
            _refuse(name, "made of letters, digits and hyphens")
    return region.lower(), cluster_name.lower()


def _database(parts: SplitResult, given: Mapping[str, str]) -> int:
    path = parts.path.strip("/")
    if path and "db" in given:
        raise ConfigurationError("the store's URL names the database twice, in its path and as db=")
    if path and not re.fullmatch(r"[0-9]+", path):
        raise ConfigurationError(
            "the path of the store's URL is the number of a database, as in /0; use name= for a cache"
        )
    return int(_number({"db": path} if path else given, "db", 0, 0, 65535))


def _search(given: Mapping[str, str]) -> Literal["knn", "range"] | None:
    match given.get("search"):
        case None:
            return None
        case "knn" | "range" as way:
            return way
    return _refuse("search", "knn or range")


def _profile(given: Mapping[str, str]) -> Profile | None:
    if "profile" not in given:
        return None
    return next((profile for profile in PROFILES if profile == given["profile"]), None) or _refuse(
        "profile", " or ".join(PROFILES)
    )


def _matching(given: Mapping[str, str], name: str, default: str) -> str:
    value = given.get(name, default)
    if not _NAME.fullmatch(value):
        _refuse(name, "1 to 32 of a-z, 0-9, _ and -, the first a letter or digit")
    return value


def _switch(given: Mapping[str, str], name: str, default: bool | None) -> bool | None:
    if name not in given:
        return default
    word = given[name].lower()
    if word in ("true", "1", "yes", "on"):
        return True
    return False if word in ("false", "0", "no", "off") else _refuse(name, "true or false")


def _number(given: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    if name not in given:
        return default
    whole = isinstance(default, int)
    try:
        value = float(int(given[name])) if whole else float(given[name])
    except (ValueError, OverflowError):
        value = math.nan
    if not low <= value <= high:
        _refuse(name, f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
    return value


def _refuse(name: str, allowed: str) -> NoReturn:
    raise ConfigurationError(f"{name}= in the store's URL must be {allowed}")
