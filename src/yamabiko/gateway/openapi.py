"""The description of the gateway's own endpoints: OpenAPI 3.1. What passes on to an upstream its vendor describes.

Source: OpenAPI Specification 3.1.1 (October 2024). ``tests/test_gateway_ops.py`` compares it with what is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from yamabiko.version import __version__

PATH = "/yamabiko/openapi.json"
_ADMIN = "An admin key; one of a single tenant sees and removes that tenant's entries only."
_NUMBER: Mapping[str, Any] = {"type": "number"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_TEXT: Mapping[str, Any] = {"type": "string"}
_FLAG: Mapping[str, Any] = {"type": "boolean"}
_TIME: Mapping[str, Any] = {"type": ["number", "null"], "description": "Seconds UTC epoch; null for never."}


@cache
def document() -> Mapping[str, Any]:
    """The whole description, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Yamabiko gateway",
            "version": __version__,
            "description": "The gateway's own endpoints, beside those of the vendors' APIs that it passes on.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": "cache"}, {"name": "health"}],
        "paths": {
            "/yamabiko/feedback": {"post": _feedback()},
            "/yamabiko/entries": {"delete": _remove()},
            "/yamabiko/entries/{id}": {"get": _entry()},
            "/yamabiko/stats": {"get": _stats()},
            PATH: {"get": _open("openApi", "This description.", "cache", {"type": "object"})},
            "/healthz": {"get": _open("health", "The process answers.", "health", _object({"status": _TEXT}))},
            "/readyz": {"get": _ready()},
        },
        "components": {
            "schemas": {"Error": _error(), "Entry": _entry_schema(), "Stats": _stats_schema()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _feedback() -> dict[str, Any]:
    body = _object(
        {
            "hit": {**_TEXT, "description": "X-Yamabiko-Hit-Id of the answer."},
            "ok": {**_FLAG, "description": "False: never this answer to this question again."},
        }
    )
    return {
        "operationId": "sendFeedback",
        "tags": ["cache"],
        "summary": "Say of a stored answer whether it was right.",
        "description": "With the credential that the answer was asked for with, or with an admin key.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "204": {"description": "Noted; a wrong answer is gone."},
            **_errors(400, 401, 403, 404, 413, 429),
        },
    }


def _remove() -> dict[str, Any]:
    about = {
        "id": "The entry of this id.",
        "tag": "Entries with this tag.",
        "source": "Entries made from this document.",
        "base": "Entries made from documents of this knowledge base.",
        "digest": "With source: its present state. Entries made from that stay.",
        "user": "Entries of this user.",
        "model": "Entries of this model.",
        "tenant": "Entries of this tenant.",
    }
    return {
        "operationId": "removeEntries",
        "tags": ["cache"],
        "summary": "Remove the entries that fit all given conditions; at least one is needed.",
        "description": _ADMIN,
        "parameters": [
            {"name": name, "in": "query", "schema": {**_TEXT, "minLength": 1}, "description": words}
            for name, words in about.items()
        ],
        "responses": {"200": _said("How many went.", _object({"removed": _COUNT})), **_errors(400, 401, 403)},
    }


def _entry() -> dict[str, Any]:
    identifier = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    return {
        "operationId": "getEntry",
        "tags": ["cache"],
        "summary": "What is known of an entry of one's own.",
        "description": "Texts are shown to an admin key only. What is somebody else's is not found.",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": identifier},
            {"name": "texts", "in": "query", "schema": {"type": "string", "enum": ["true", "false"]}},
        ],
        "responses": {"200": _said("The entry.", _ref("Entry")), **_errors(400, 401, 403, 404, 429)},
    }


def _stats() -> dict[str, Any]:
    return {
        "operationId": "getStats",
        "tags": ["cache"],
        "summary": "Counts and sizes.",
        "description": _ADMIN,
        "responses": {"200": _said("Counts and sizes.", _ref("Stats")), **_errors(400, 401, 403)},
    }


def _ready() -> dict[str, Any]:
    word = {"type": "string", "enum": ["ok", "unavailable", "none"]}
    schema = _object(
        {
            "status": {"type": "string", "enum": ["ready", "degraded"]},
            "cache": {"type": "string", "enum": ["open", "unavailable"]},
            "store": word,
            "embedder": word,
            "in_flight": _COUNT,
        }
    )
    endpoint = _open("ready", "Requests are taken; degraded: passed on without the cache.", "health", schema)
    endpoint["parameters"] = [{"name": "cache", "in": "query", "schema": {"type": "string", "enum": ["required"]}}]
    endpoint["responses"]["503"] = _said("The cache is required, and store or embedder do not answer.", schema)
    return endpoint


def _open(operation: str, words: str, tag: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint for which nobody needs a key."""
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": words,
        "security": [],
        "responses": {"200": _said(words, schema)},
    }


def _entry_schema() -> dict[str, Any]:
    names = ("id", "tenant", "user", "model", "finish_reason")
    counts = ("questions", "answer_characters", "input_tokens", "output_tokens")
    numbers = ("created", "cost_usd", "latency_seconds")
    parts = ("uri", "digest", "version", "base")
    labels = {"type": "array", "items": _TEXT}
    texts = _object({"questions": {"type": "array", "items": _TEXT}, "answer": _TEXT})
    required = {
        **dict.fromkeys(names, _TEXT),
        **dict.fromkeys(counts, _COUNT),
        **dict.fromkeys(numbers, _NUMBER),
        **dict.fromkeys(("expires", "stale_until"), _TIME),
        **dict.fromkeys(("confirmed", "signed"), _FLAG),
        "tags": {"type": "array", "items": _TEXT},
        "sources": {"type": "array", "items": _object({**dict.fromkeys(parts, _TEXT), "labels": labels})},
    }
    return {**_object(required), "properties": {**required, "texts": texts}}


def _stats_schema() -> dict[str, Any]:
    required = {"version": _TEXT, "entries": _COUNT, "payload_bytes": _COUNT}
    others = {"tenant": _TEXT, **dict.fromkeys(("questions", "vectors", "scopes", "file_bytes", "evicted"), _COUNT)}
    return {**_object(required), "properties": {**required, **others}}


def _error() -> dict[str, Any]:
    return _object({"error": _object({"message": _TEXT, "type": _TEXT, "code": _TEXT})})


def _errors(*statuses: int) -> dict[str, Any]:
    words = {
        400: "The request can't be followed; the message says why.",
        401: "A key is missing, or not known.",
        403: "The key's scope does not reach so far.",
        404: "There is no such thing, or it is somebody else's.",
        413: "The body is too long.",
        429: "The tenant's requests per minute are used up; Retry-After says for how long.",
        503: "The store can't be reached.",
    }
    return {str(status): _said(words[status], _ref("Error")) for status in (*statuses, 503)}


def _said(words: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
