"""What MemoryDB does with an IAM token on AUTH, from the signing rules alone: nothing of yamabiko or botocore in it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

VALID_SECONDS = 900
SKEW_SECONDS = 300  # how far a client's clock may be ahead

_PARAMETERS = {
    "Action",
    "User",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
}


class Secret(NamedTuple):
    """What IAM knows of an access key: its secret, and the session token that must come with it, if it is temporary."""

    secret: str
    session: str | None = None


def refusal(
    token: str,
    user: str,
    *,
    cluster: str,
    region: str,
    secrets: Mapping[str, Secret],
    now: float,
    service: str = "memorydb",
) -> str | None:
    """Why the cluster refuses this token of this user at ``now``, or None: it is let in.

    ``secrets`` maps access key ids to their Secret. The reason is for tests: a real server tells WRONGPASS only.
    """
    host, slash, query = token.partition("/?")
    if not slash or host != cluster:
        return "not for this cluster"
    pairs = parse_qsl(query, keep_blank_values=True)
    if "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs) != query:
        return "not encoded as it should be"
    given = dict(pairs)
    if len(given) != len(pairs) or _PARAMETERS - set(given) or set(given) - _PARAMETERS - {"X-Amz-Security-Token"}:
        return "not the parameters that belong in a token"
    if given["Action"] != "connect":
        return "not for connecting"
    if given["User"] != user or user != user.lower():
        return "not for this user"
    return _out_of_time(given, now) or _unsigned(given, host=host, region=region, service=service, secrets=secrets)


def _out_of_time(given: Mapping[str, str], now: float) -> str | None:
    try:
        made = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return "no date"
    if not given["X-Amz-Expires"].isdecimal() or not 0 < int(given["X-Amz-Expires"]) <= VALID_SECONDS:
        return "valid for too long"
    if now < made - SKEW_SECONDS:
        return "from the future"
    return "expired" if now >= made + int(given["X-Amz-Expires"]) else None


def _unsigned(
    given: Mapping[str, str], *, host: str, region: str, service: str, secrets: Mapping[str, Secret]
) -> str | None:
    access, _, scope = given["X-Amz-Credential"].partition("/")
    day = given["X-Amz-Date"][:8]
    if scope != f"{day}/{region}/{service}/aws4_request":
        return "not for this day, region and service"
    if given["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256" or given["X-Amz-SignedHeaders"] != "host":
        return "signed in another way"
    if access not in secrets:
        return "an unknown access key"
    secret, session = secrets[access]
    if given.get("X-Amz-Security-Token") != session:
        return "not the session of this access key"
    covered = sorted((quote(k, safe=""), quote(v, safe="")) for k, v in given.items() if k != "X-Amz-Signature")
    canonical = "\n".join(
        ["GET", "/", "&".join("=".join(pair) for pair in covered), f"host:{host}", "", "host", _sha256("")]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", given["X-Amz-Date"], scope, _sha256(canonical)])
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(expected, given["X-Amz-Signature"]) else "not signed with this key"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
