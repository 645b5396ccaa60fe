"""What logs and traces may say of where a request went and of the names in it. Never a text of the client's own."""

from __future__ import annotations

import re

_KNOWN = frozenset(
    {
        b"assistants",
        b"audio",
        b"batches",
        b"chat",
        b"complete",
        b"completions",
        b"containers",
        b"conversations",
        b"embeddings",
        b"evals",
        b"files",
        b"fine_tuning",
        b"images",
        b"messages",
        b"models",
        b"moderations",
        b"organizations",
        b"rerank",
        b"responses",
        b"threads",
        b"uploads",
        b"vector_stores",
        b"videos",
    }
)
"""The vendors' families of endpoints. Source: the API references of OpenAI and Anthropic (November 2026)."""
_OWN = re.compile(rb"/yamabiko/(entries|feedback|openapi\.json|stats)(/.*)?")
_NAME = re.compile(r"[A-Za-z0-9._:/@+-]{1,100}")
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_PASSED = re.compile(rb"(/[a-z][a-z0-9_-]{0,39})?/v1/([a-z_]+)(/.*)?")


def template(path: bytes, *, read: bool) -> str:
    """The path of an endpoint that is ``read`` as it is; of any other its family: ``/v1/files/*``; else ``*``.

    The name of an upstream is left out where a path is passed on: anybody may write one that does not exist.
    """
    if read:
        return path.decode("ascii")
    found = _PASSED.fullmatch(path)
    if found is None or found[2] not in _KNOWN:
        return "*"
    return ("/*" if found[1] else "") + f"/v1/{found[2].decode()}" + ("/*" if found[3] else "")


def own_template(path: bytes) -> str:
    """The same for the gateway's own endpoints: ``/yamabiko/entries/*``."""
    found = _OWN.fullmatch(path)
    if found is None:
        return "*"
    return f"/yamabiko/{found[1].decode()}" + ("/*" if found[2] else "")


def name_of(given: str) -> str:
    """A model's name, or the word of a vendor, as it is; ``*`` where it could be a text."""
    return given if not given or _NAME.fullmatch(given) else "*"


def method_of(given: str) -> str:
    """An HTTP method; ``_OTHER`` where it is none that everybody knows."""
    return given if given in _METHODS else "_OTHER"
