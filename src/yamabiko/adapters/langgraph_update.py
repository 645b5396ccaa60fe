"""What a node of LangGraph writes into the state, as a Reply that can be stored and given back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict

from yamabiko.adapters.langchain_told import told_back, without_run_id
from yamabiko.errors import ConfigurationError
from yamabiko.message import canonical_json
from yamabiko.types import Reply, Source

_DOCUMENT, _MESSAGE = "yamabiko.document", "yamabiko.message"


def reply_of(update: Mapping[str, Any], answer: str) -> Reply:
    """The node's answer as text, and the rest of its update beside it.

    The answer is a text, a message, or a list that ends with one. Beside it may stand what JSON can say, messages, and
    documents, whose ``metadata["source"]`` are the sources of the answer; so is a list of texts named ``sources``.
    Raises ``ConfigurationError`` for anything else, since whoever is served from the cache would miss it.
    """
    rest = {key: value for key, value in update.items() if key != answer or not isinstance(value, str)}
    told = {key: _told(value) for key, value in rest.items()}
    for key, value in told.items():
        if not told_back(value):
            raise ConfigurationError(
                f"the node's {key!r:.60} can't be stored with its answer: a node behind the cache writes JSON, messages"
                " and documents, and nothing else"
            )
    return Reply(
        text=_text(update.get(answer)),
        sources=tuple(Source(uri=uri) for uri in dict.fromkeys(_sources(update))),
        extra=canonical_json({"langgraph": told}) if told else "",
    )


def update_of(reply: Reply, answer: str, *, as_message: bool) -> dict[str, Any]:
    """The update that ``reply_of`` was given. ``as_message``: where no more than a text is stored, a message of it."""
    try:
        extra = json.loads(reply.extra, object_hook=_object) if reply.extra else {}
    except ValueError:
        extra = {}
    rest = extra.get("langgraph") if isinstance(extra, dict) else None
    update: dict[str, Any] = dict(rest) if isinstance(rest, dict) else {}
    if answer not in update:
        update[answer] = [AIMessage(content=reply.text)] if as_message else reply.text
    return update


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    last = value[-1] if isinstance(value, Sequence) and value else value
    if isinstance(last, BaseMessage):
        return last.content if isinstance(last.content, str) else ""  # of more than text: empty, and so not stored
    raise ConfigurationError("the node's answer is missing, or neither a text nor a message")


def _told(value: object) -> Any:
    match value:
        case BaseMessage():
            return {_MESSAGE: message_to_dict(value)}
        case Document():
            return {_DOCUMENT: {"id": value.id, "text": value.page_content, "metadata": value.metadata}}
        case Mapping():
            return {key: _told(one) for key, one in value.items()}
        case list():
            return [_told(one) for one in value]
    return value


def _object(value: dict[str, Any]) -> Any:
    """Only LangChain's own messages and documents are made of stored JSON, whatever it says."""
    match value:
        case {"yamabiko.message": {"type": str(), "data": dict()} as told} if len(value) == 1:
            return without_run_id(messages_from_dict([told])[0])
        case {"yamabiko.document": {"text": str(text), "metadata": dict(metadata)} as told} if len(value) == 1:
            return Document(id=told.get("id"), page_content=text, metadata=metadata)
    return value


def _sources(update: Mapping[str, Any]) -> Iterator[str]:
    listed = update.get("sources")
    if isinstance(listed, list):
        yield from (source for source in listed if isinstance(source, str) and source)
    for document in _documents(update):
        source = document.metadata.get("source")
        if isinstance(source, str) and source:
            yield source


def _documents(value: object) -> Iterator[Document]:
    match value:
        case Document():
            yield value
        case Mapping():
            for one in value.values():
                yield from _documents(one)
        case list():
            for one in value:
                yield from _documents(one)
