"""Amazon Bedrock's knowledge bases: what Retrieve found, and RetrieveAndGenerate's answers to Reply and back.

RetrieveAndGenerate tells no tokens and no stop reason. Its session is never kept: a stored answer belongs to nobody's.

Source: the Amazon Bedrock API reference, "Retrieve", "RetrieveAndGenerate" and "RetrieveAndGenerateStream" (read
2026-11); botocore's service model of bedrock-agent-runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.types import Reply
from yamabiko.wire.converse import from_json, to_json
from yamabiko.wire.replay import keep, kept
from yamabiko.wire.sse import Chunk

API = "retrieve_and_generate"
"""The member of ``Reply.extra`` that holds what is kept of these answers."""

_INTERVENED = "INTERVENED"


def uri_of(location: object, document: str = "") -> str:
    """Where a passage comes from: the URI or URL of its document, or what else the base names it by; may be empty.

    A base names its location by a type and one member of that type: ``{"type": "S3", "s3Location": {"uri": ...}}``.
    """
    if isinstance(location, Mapping):
        for place in location.values():
            if isinstance(place, Mapping):
                for name in ("uri", "url", "id", "query"):
                    if isinstance(place.get(name), str):
                        return str(place[name])
    return document


def text_of(content: object) -> str:
    """What a model can read of a passage: its text, a transcription, a summary, a table's row; empty for an image."""
    if not isinstance(content, Mapping):
        return ""
    row = content.get("row")
    if isinstance(row, Sequence) and not isinstance(row, str) and row:
        cells = [cell for cell in row if isinstance(cell, Mapping)]
        return "\n".join(f"{cell.get('columnName', '')}: {cell.get('columnValue', '')}" for cell in cells)
    audio, video = content.get("audio"), content.get("video")
    said = audio.get("transcription") if isinstance(audio, Mapping) else None
    seen = video.get("summary") if isinstance(video, Mapping) else None
    return next((text for text in (content.get("text"), said, seen) if isinstance(text, str) and text), "")


def reply_from(response: Mapping[str, Any], *, model: str = "", chunk_lengths: Sequence[int] = ()) -> Reply:
    """A Reply from a response of RetrieveAndGenerate; its citations are kept. Raises ``InvalidRequest``."""
    output = response.get("output")
    text = output.get("text") if isinstance(output, Mapping) else None
    if not isinstance(text, str):
        raise InvalidRequest("output.text must be a text")
    citations = response.get("citations", [])
    if not isinstance(citations, Sequence) or not all(isinstance(cited, Mapping) for cited in citations):
        raise InvalidRequest("citations must be a list of objects")
    if not all(isinstance(cited.get("retrievedReferences", []), list) for cited in citations):
        raise InvalidRequest("each citation's retrievedReferences must be a list")
    rest = {k: v for k, v in response.items() if k not in ("output", "sessionId", "ResponseMetadata")}
    return Reply(
        text=text,
        model=model,
        finish_reason="content_filter" if response.get("guardrailAction") == _INTERVENED else "stop",
        chunk_lengths=tuple(chunk_lengths),
        extra=keep(API, to_json(rest)),
    )


def response_from(reply: Reply, *, session: str = "") -> dict[str, Any]:
    """A response that says the reply again, as boto3 gives it without ResponseMetadata.

    ``session``: the id of the caller's own session; a stored answer has none.
    """
    return {"output": {"text": reply.text}, "sessionId": session, **_rest(reply)}


def events_from(reply: Reply) -> Iterator[dict[str, Any]]:
    """The events of a stream that says the reply again: its pieces, then its citations, then what a guardrail did."""
    rest = _rest(reply)
    for piece in reply.chunks():
        yield {"output": {"text": piece}}
    for citation in rest.get("citations", ()):
        yield {"citation": {"citation": citation, **citation}}
    if "guardrailAction" in rest:
        yield {"guardrail": {"action": rest["guardrailAction"]}}


def citations_of(reply: Reply) -> Sequence[Mapping[str, Any]]:
    """The citations that are kept of a reply, in Bedrock's shape; empty where there are none."""
    cited = _rest(reply).get("citations", [])
    return cited if isinstance(cited, list) else []


def references_of(reply: Reply) -> Iterator[tuple[str, str]]:
    """URI and text of each passage that an answer cites, each once and in the order of the answer."""
    seen = set()
    for citation in citations_of(reply):
        for reference in citation.get("retrievedReferences", ()):
            found = uri_of(reference.get("location")), text_of(reference.get("content"))
            if found not in seen:
                seen.add(found)
                yield found


def _rest(reply: Reply) -> dict[str, Any]:
    api, rest = kept(reply)
    told: dict[str, Any] = from_json(rest) if api == API else {}
    return {name: value for name, value in told.items() if name != "about"}


class Assembly:
    """A response, put together from the events of its stream; ``model`` is who was asked.

    Nothing in a stream says that it came to its end: the caller must have read it to its end without an error.
    """

    def __init__(self, model: str = "") -> None:
        self._model = model
        self._texts: list[str] = []
        self._citations: list[Mapping[str, Any]] = []
        self._rest: dict[str, Any] = {}
        self._failed = False

    def add(self, event: Mapping[str, Any]) -> Chunk:
        """What the next event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        ((kind, value),) = event.items() if len(event) == 1 else (("", None),)
        if kind == "sessionId":
            return Chunk()
        if not isinstance(value, Mapping):
            raise InvalidRequest("an event must be an object with one member, an object")
        if kind == "output":
            text = value.get("text")
            if not isinstance(text, str):
                raise InvalidRequest("output.text must be a text")
            self._texts += [text] if text else []
            return Chunk(text=text)
        if kind == "citation":
            cited = {name: value[name] for name in _CITED if name in value} or value.get("citation")
            self._citations += [cited] if isinstance(cited, Mapping) else []
        elif kind == "guardrail":
            if self._rest.get("guardrailAction") != _INTERVENED:
                self._rest["guardrailAction"] = value.get("action")
        else:
            self._failed = True
        return Chunk()

    def reply(self) -> Reply:
        """What the stream added up to; its finish reason is ``error`` where it held what we don't know."""
        response = {"output": {"text": "".join(self._texts)}, "citations": self._citations, **self._rest}
        reply = reply_from(response, model=self._model, chunk_lengths=[len(piece) for piece in self._texts])
        return Reply(text=reply.text, model=self._model, finish_reason="error") if self._failed else reply


_CITED = ("generatedResponsePart", "retrievedReferences")
"""Members of a citation; an event has them in its older member ``citation`` too."""
