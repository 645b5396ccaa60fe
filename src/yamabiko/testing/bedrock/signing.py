"""Signature Version 4 as the receiver checks it.

Source: IAM user guide, "Create a signed AWS API request" (read 2026-11-23).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

from yamabiko.testing.bedrock.faults import Refused
from yamabiko.testing.bedrock.http import Incoming

_FORM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([a-z0-9-]+)/([a-z-]+)/aws4_request,"
    r"\s*SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})"
)


def check_signature(incoming: Incoming, secrets: Mapping[str, str] | None) -> None:
    """The header must be there and well-formed; with ``secrets`` (access key -> secret key) it must be right as well.

    Raises ``Refused``.
    """
    header = incoming.headers.get("authorization", "")
    if not header:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    found = _FORM.fullmatch(header)
    if found is None or "x-amz-date" not in incoming.headers or "host" not in found[5].split(";"):
        raise Refused("InvalidSignatureException", "The authorization header is no signature of version 4.")
    access, day, region, service, signed, signature = found.groups()
    if service != "bedrock":
        raise Refused("InvalidSignatureException", "Credential should be scoped to correct service: 'bedrock'.")
    if secrets is None:
        return
    if access not in secrets:
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    key = f"AWS4{secrets[access]}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", incoming.headers["x-amz-date"], scope, _canonical_digest(incoming, signed.split(";"))]
    )
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature):
        raise Refused(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
            " Access Key and signing method.",
        )


def _canonical_digest(incoming: Incoming, signed: list[str]) -> str:
    headers = [f"{name}:{' '.join(incoming.headers.get(name, '').split())}" for name in signed]
    query = "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in incoming.query.items()))
    lines = [
        incoming.method,
        quote(incoming.path, safe="/-_.~"),  # the path as it came is encoded once more, as for all services but S3
        query,
        *headers,
        "",
        ";".join(signed),
        hashlib.sha256(incoming.body).hexdigest(),
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
