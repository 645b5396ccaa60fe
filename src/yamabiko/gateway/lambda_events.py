"""What AWS Lambda hands over for an HTTP request, as ASGI has it, and an answer as the sender of the event wants it.

Four kinds of events: those of function URLs and HTTP APIs (payload format 2.0), of REST APIs (1.0), and of Application
Load Balancers, with values in lists or single. Pure. A request that can't be read is no request: ``InvalidRequest``.

Sources, all read 2026-11-24: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs" and
"Set up Lambda proxy integrations"; Elastic Load Balancing user guide, "Use Lambda functions as targets of an
Application Load Balancer"; AWS Lambda developer guide, "Invoking Lambda function URLs" and "Building a custom runtime".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from yamabiko.errors import InvalidRequest
from yamabiko.gateway.exchange import Headers

Kind: TypeAlias = Literal["v2", "v1", "alb", "alb_lists"]
"""By which an answer is formed: payload format 2.0, 1.0, a load balancer's with single values, one's with lists."""

PRELUDE_END = bytes(8)
"""Between status and headers, and the body, of a streamed answer."""
_METHOD = re.compile("[A-Z]{1,20}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "application/problem+json")
"""Beginnings of content types whose bodies are told as they are, where they are UTF-8; others are told in base64."""
_PATH = "/%:@!$&'()*+,;=-._~"
_OF_THE_CONNECTION = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length"})
"""The service says these itself."""
_UNREADABLE = "the event is no HTTP request of API Gateway, a function URL or a load balancer"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEvent:
    """One request. ``query`` and ``path`` are percent-encoded, ``headers`` as ASGI has them, ``body`` is decoded."""

    kind: Kind
    method: str
    path: bytes = field(repr=False)
    query: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    scheme: str = "https"
    peer: str = ""


def read_event(event: object) -> HttpEvent:
    """The request that an event holds. Raises ``InvalidRequest`` for any other event; what it says quotes nothing."""
    if not isinstance(event, Mapping):
        raise InvalidRequest(_UNREADABLE)
    try:
        return _of_format_2(event) if event.get("version") == "2.0" else _of_lists_or_pairs(event)
    except (KeyError, TypeError, AttributeError, ValueError):  # its members are not what they should be
        raise InvalidRequest(_UNREADABLE) from None


def _of_format_2(event: Mapping[str, Any]) -> HttpEvent:
    """Of an HTTP API or a function URL. Several headers of a name are joined by commas, cookies apart from them."""
    context = event["requestContext"]
    headers = [_header(name, value) for name, value in event["headers"].items()]
    if cookies := event.get("cookies"):
        headers.append((b"cookie", "; ".join(cookies).encode()))
    return HttpEvent(
        kind="v2",
        method=_method(context["http"]["method"]),
        path=_path(event["rawPath"]),
        query=_query(event.get("rawQueryString") or ""),
        headers=headers,
        body=_body(event),
        scheme=_scheme(headers),
        peer=str(context["http"].get("sourceIp") or ""),
    )


def _of_lists_or_pairs(event: Mapping[str, Any]) -> HttpEvent:
    """Of a load balancer, or of a REST API (which has both lists and pairs)."""
    context = event["requestContext"]
    balancer = "elb" in context
    lists = event.get("multiValueHeaders")
    pairs = _all(lists) if lists is not None else event["headers"].items()
    headers = [_header(name, value) for name, value in pairs]
    queries = event.get("multiValueQueryStringParameters")
    asked = list(_all(queries) if queries is not None else (event.get("queryStringParameters") or {}).items())
    kind: Kind = "v1" if not balancer else "alb" if lists is None else "alb_lists"
    return HttpEvent(
        kind=kind,
        method=_method(event["httpMethod"]),
        path=_path(event["path"]),
        # A load balancer tells a query as it came, a REST API decodes it.
        query=b"&".join(_asked(name, value, encoded=balancer) for name, value in asked),
        headers=headers,
        body=_body(event),
        scheme=_scheme(headers),
        peer=str(context.get("identity", {}).get("sourceIp") or ""),
    )


def whole_answer(event: HttpEvent, status: int, headers: Headers, body: bytes) -> dict[str, object]:
    """The answer to an event, all at once, as whoever sent the event wants it."""
    kept = [pair for pair in headers if pair[0] not in _OF_THE_CONNECTION]
    text = _as_text(kept, body)
    told: dict[str, object] = {
        "statusCode": status,
        "isBase64Encoded": text is None,
        "body": base64.b64encode(body).decode("ascii") if text is None else text,
    }
    match event.kind:
        case "v2":
            return told | _headers_and_cookies(kept)
        case "v1":
            return told | {"multiValueHeaders": _listed(kept)}
        case "alb_lists":
            return told | {"statusDescription": _described(status), "multiValueHeaders": _listed(kept)}
        case "alb":
            return told | {"statusDescription": _described(status), "headers": _single(kept)}


def prelude(status: int, headers: Headers) -> bytes:
    """What a streamed answer begins with: status, headers and cookies, and the mark after them."""
    kept = [pair for pair in headers if pair[0] not in _OF_THE_CONNECTION]
    return json.dumps({"statusCode": status, **_headers_and_cookies(kept)}).encode() + PRELUDE_END


def scope_of(event: HttpEvent) -> dict[str, Any]:
    """The ASGI connection scope. Its headers say the body's own length: an event's may be of what it was encoded in."""
    headers = [pair for pair in event.headers if pair[0] not in (b"content-length", b"transfer-encoding")]
    if event.body or event.method in ("POST", "PUT", "PATCH"):
        headers.append((b"content-length", b"%d" % len(event.body)))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": event.method,
        "scheme": event.scheme,
        "path": event.path.decode("latin-1"),
        "raw_path": event.path,
        "query_string": event.query,
        "root_path": "",
        "headers": headers,
        "client": (event.peer, 0) if event.peer else None,
        "server": None,
    }


# Reading.


def _method(value: object) -> str:
    if not isinstance(value, str) or not _METHOD.fullmatch(value):
        raise ValueError
    return value


def _path(value: str) -> bytes:
    """As it came where it is ASCII already; what a service has decoded is encoded again."""
    path = value or "/"
    if not path.startswith("/"):
        raise ValueError
    return quote(path, safe=_PATH).encode("ascii")


def _query(value: str) -> bytes:
    return value.encode("utf-8")


def _asked(name: str, value: object, *, encoded: bool) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    return f"{name}={value}".encode() if encoded else f"{quote(name, safe='')}={quote(value, safe='')}".encode()


def _all(lists: Mapping[str, Sequence[object]]) -> Iterator[tuple[str, object]]:
    for name, values in lists.items():
        for value in values:
            yield name, value


def _header(name: str, value: object) -> tuple[bytes, bytes]:
    """As on the wire. A value that could begin another header is no value."""
    if not isinstance(value, str) or not _NAME.fullmatch(name) or not {"\r", "\n", "\0"}.isdisjoint(value):
        raise ValueError
    return name.lower().encode("ascii"), value.strip(" \t").encode("utf-8")


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise TypeError
    if event.get("isBase64Encoded"):
        try:
            return base64.b64decode(body, validate=True)
        except binascii.Error:
            raise ValueError from None
    return body.encode("utf-8", "surrogatepass")


def _scheme(headers: Headers) -> str:
    return "http" if (b"x-forwarded-proto", b"http") in headers else "https"


# Answering.


def _as_text(headers: Headers, body: bytes) -> str | None:
    """The body as text, if it is one; a body that is compressed, or not UTF-8, is none."""
    said = {name: value.decode("latin-1").lower() for name, value in headers}
    if said.get(b"content-encoding", "identity") != "identity" or not said.get(b"content-type", "").startswith(_TEXTS):
        return None if body else ""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _headers_and_cookies(headers: Headers) -> dict[str, object]:
    """Headers of one name are joined, as a list of values may be; cookies may not, and have a place of their own."""
    joined: dict[str, str] = {}
    cookies = []
    for name, value in headers:
        text = value.decode("latin-1")
        if name == b"set-cookie":
            cookies.append(text)
        else:
            known = joined.get(name.decode("latin-1"))
            joined[name.decode("latin-1")] = text if known is None else f"{known}, {text}"
    return {"headers": joined} | ({"cookies": cookies} if cookies else {})


def _listed(headers: Headers) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = {}
    for name, value in headers:
        listed.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return listed


def _single(headers: Headers) -> dict[str, str]:
    """One value for each name; each of several cookies under a spelling of the name of its own, or it would be lost."""
    single: dict[str, str] = {}
    cookies = 0
    for name, value in headers:
        text, key = value.decode("latin-1"), name.decode("latin-1")
        if name == b"set-cookie":
            single[_spelling(cookies)] = text
            cookies += 1
        else:
            single[key] = text if key not in single else f"{single[key]}, {text}"
    return single


def _spelling(number: int) -> str:
    """One of the spellings of ``set-cookie``: the bits of a number say which letters are capitals."""
    letters = []
    for letter in "set-cookie":
        letters.append(letter.upper() if letter.isalpha() and number & 1 else letter)
        number = number >> 1 if letter.isalpha() else number
    return "".join(letters)


def _described(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"
