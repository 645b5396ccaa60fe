"""Rerank: texts or JSON documents by their likeness to a query.

Source: bedrock-agent-runtime API reference, "Rerank" (read 2026-11-23).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yamabiko.testing.bedrock.checks import at_most, between, member
from yamabiko.testing.bedrock.faults import invalid
from yamabiko.testing.bedrock.models import Catalogue
from yamabiko.testing.bedrock.vectors import likeness

_CHARACTERS = 32_000
_MOST_SOURCES = 1_000


def rerank(body: Mapping[str, Any], catalogue: Catalogue, *, now: float) -> dict[str, Any]:
    """The body of the response; raises ``Refused``."""
    queries = member(body, "queries", list)
    if len(queries) != 1:
        raise invalid("1 validation error detected: Value at 'queries' must hold one query")
    query = member(member(queries[0], "textQuery", dict, where="queries.0."), "text", str, where="queries.0.textQuery.")
    at_most(query, _CHARACTERS, "queries.0.textQuery.text")
    sources = member(body, "sources", list)
    between(len(sources), 1, _MOST_SOURCES, "sources")
    texts = [_text(source, number) for number, source in enumerate(sources)]
    config = member(body, "rerankingConfiguration", dict)
    settings = member(config, "bedrockRerankingConfiguration", dict, where="rerankingConfiguration.")
    arn = member(member(settings, "modelConfiguration", dict), "modelArn", str, where="modelConfiguration.")
    if catalogue.resolve(arn, now=now).kind != "rerank":
        raise invalid("The model does not support reranking.")
    limit = member(settings, "numberOfResults", int, required=False)
    between(limit, 1, _MOST_SOURCES, "numberOfResults")
    scored = sorted(((likeness(query, text), -number) for number, text in enumerate(texts)), reverse=True)
    return {"results": [{"index": -at, "relevanceScore": score} for score, at in scored[: limit or len(scored)]]}


def _text(source: Mapping[str, Any], number: int) -> str:
    where = f"sources.{number}."
    document = member(source, "inlineDocumentSource", dict, where=where)
    if document.get("type") == "JSON":
        return json.dumps(member(document, "jsonDocument", dict, where=where), ensure_ascii=False)
    text: str = member(member(document, "textDocument", dict, where=where), "text", str, where=where)
    at_most(text, _CHARACTERS, f"{where}textDocument.text")
    return text
