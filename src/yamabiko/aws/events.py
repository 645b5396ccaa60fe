"""What happened to documents on AWS, as calls of ``invalidate``: objects of S3 and ingestion jobs of knowledge bases.

Pure but for the calls: events come in as Lambda hands them over, and what is to be forgotten goes to whatever has an
``invalidate``: a ``Cache``, a ``RagPipeline``. Everything here may be done twice and comes to the same.

An object that changed is known here before a knowledge base has read it anew. Answers that are made in between are made
from its old text, so what an ingestion job has indexed is invalidated once more when it is done (``after_ingestion``).

Source: Amazon S3 user guide, "Event message structure" and "Using EventBridge" (read 2026-11); AWS Lambda developer
guide, "Using Lambda with Amazon SQS", on partial batch responses (read 2026-11); botocore's service model of
bedrock-agent, GetIngestionJob and ListKnowledgeBaseDocuments (1.44).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import unquote_plus

from yamabiko.errors import InvalidRequest, YamabikoError


class Invalidates(Protocol):
    """What forgets: a ``Cache`` or a ``RagPipeline``."""

    async def invalidate(self, source: str = "", *, base: str = "", digest: str = "") -> object:
        """Forget what was made from a document, or from any of a base.

        ``digest``: what was made from this state of the document may stay.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A document that is no longer what it was.

    ``source``: its URI, ``s3://bucket/key``. ``digest``: its ETag or version now; empty where it is gone.
    """

    source: str = field(repr=False)
    digest: str = ""


def changes_in(event: Mapping[str, Any]) -> tuple[Change, ...]:
    """The documents that an event says have changed: S3's own, or S3's through EventBridge, SNS or SQS, nested or not.

    Events of other kinds (a test message, another service's) hold none. Raises ``InvalidRequest`` for what can't be
    read.
    """
    return tuple(dict.fromkeys(_changes(event, depth=0)))


def _changes(event: object, *, depth: int) -> Iterator[Change]:
    if not isinstance(event, Mapping) or depth > _DEEPEST:
        raise InvalidRequest("an event must be a JSON object, as AWS Lambda hands it over")
    records = event.get("Records")
    if isinstance(records, Sequence) and not isinstance(records, str):
        for record in records:
            yield from _of_record(record, depth)
    elif event.get("source") == "aws.s3":
        yield from _of_eventbridge(event)
    elif event.get("Type") == "Notification" and "Message" in event:  # SNS's envelope, as it lies in a queue
        yield from _changes(_read(event["Message"]), depth=depth + 1)


_DEEPEST = 3
"""How many envelopes an event may have: SNS in SQS is two."""


def _of_record(record: object, depth: int) -> Iterator[Change]:
    if not isinstance(record, Mapping):
        raise InvalidRequest("each of an event's Records must be a JSON object")
    if "body" in record:  # a queue's message
        yield from _changes(_read(record["body"]), depth=depth + 1)
    elif isinstance(record.get("Sns"), Mapping):
        yield from _changes(_read(record["Sns"].get("Message")), depth=depth + 1)
    elif isinstance(record.get("s3"), Mapping):
        name = str(record.get("eventName", ""))
        if name.startswith(("ObjectCreated", "ObjectRemoved", "ObjectRestore:Completed", "LifecycleExpiration")):
            gone = name.startswith(("ObjectRemoved", "LifecycleExpiration"))
            # in S3's own events, and in these alone, a key is encoded as in a URL's query
            yield _change(record["s3"], gone=gone, decode=True)


def _of_eventbridge(event: Mapping[str, Any]) -> Iterator[Change]:
    kind = event.get("detail-type")
    if kind in ("Object Created", "Object Deleted", "Object Restore Completed"):
        yield _change(event.get("detail"), gone=kind == "Object Deleted", decode=False)


def _change(told: Any, *, gone: bool, decode: bool) -> Change:
    try:
        bucket, thing = told["bucket"]["name"], told["object"]
        key = thing["key"]
        digest = "" if gone else str(thing.get("eTag") or thing.get("etag") or thing.get("versionId") or "")
    except (TypeError, KeyError, AttributeError):
        raise InvalidRequest("an event of S3 must name bucket.name and object.key") from None
    return Change(source=f"s3://{bucket}/{unquote_plus(key) if decode else key}", digest=digest.strip('"'))


def _read(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        raise InvalidRequest("a message must hold an event as JSON") from None


async def handle(event: Mapping[str, Any], target: Invalidates) -> dict[str, Any]:
    """Forget what an event says has changed; the answer is Lambda's.

    Of a queue's messages, those that failed are named in ``batchItemFailures`` (the event source mapping needs
    ``ReportBatchItemFailures``), so that they alone come again. Of any other event, a failure is raised, so that Lambda
    tries again: ``InvalidRequest``, ``StoreError``.
    """
    records = event.get("Records")
    if isinstance(records, Sequence) and any(isinstance(record, Mapping) and "body" in record for record in records):
        failed = []
        for record in records:
            try:
                await _forget(changes_in({"Records": [record]}), target)
            except (YamabikoError, TimeoutError):
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}
    changes = changes_in(event)
    await _forget(changes, target)
    return {"changes": len(changes)}


async def _forget(changes: Sequence[Change], target: Invalidates) -> None:
    for change in changes:
        await target.invalidate(change.source, digest=change.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """An ingestion job of a knowledge base, as GetIngestionJob tells it.

    ``over``: whether it is done, well or not. ``changed``: how many documents it indexed anew, changed or deleted; one
    that failed or was stopped has changed some as well. ``added``: how many of them are new. ``deleted``: how many are
    gone. ``started``: when it began, seconds UTC epoch.
    """

    id: str
    base: str
    data_source: str
    status: str
    added: int
    modified: int
    deleted: int
    started: float

    @property
    def over(self) -> bool:
        """Whether it will change nothing more."""
        return self.status in ("COMPLETE", "FAILED", "STOPPED")

    @property
    def changed(self) -> int:
        """How many documents are not what they were."""
        return self.added + self.modified + self.deleted

    @property
    def knowledge(self) -> str:
        """A version of the whole base for ``Request.knowledge``: another one after each job that changed something."""
        return f"{self.base}:{self.id}"


def ingestion_from(response: Mapping[str, Any]) -> Ingestion:
    """What GetIngestionJob returned. Raises ``InvalidRequest``."""
    try:
        job = response["ingestionJob"]
        statistics = job.get("statistics") or {}
        return Ingestion(
            id=job["ingestionJobId"],
            base=job["knowledgeBaseId"],
            data_source=job["dataSourceId"],
            status=job["status"],
            added=int(statistics.get("numberOfNewDocumentsIndexed") or 0),
            modified=int(statistics.get("numberOfModifiedDocumentsIndexed") or 0)
            + int(statistics.get("numberOfMetadataDocumentsModified") or 0),
            deleted=int(statistics.get("numberOfDocumentsDeleted") or 0),
            started=seconds_of(job["startedAt"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidRequest("an ingestion job must be as GetIngestionJob returns it") from None


def documents_since(details: Sequence[Mapping[str, Any]], started: float) -> tuple[Change, ...]:
    """Of ``documentDetails`` of ListKnowledgeBaseDocuments, those that were touched since a job began.

    ``started``: ``Ingestion.started``. No digest is told: the base has just read them, and stored answers can't have.
    """
    found = []
    for detail in details:
        identifier = detail.get("identifier") or {}
        uri = (identifier.get("s3") or {}).get("uri") or (identifier.get("custom") or {}).get("id")
        updated = detail.get("updatedAt")
        if uri and (updated is None or seconds_of(updated) >= started):
            found.append(Change(source=str(uri)))
    return tuple(dict.fromkeys(found))


async def after_ingestion(job: Ingestion, changed: Sequence[Change] | None, target: Invalidates) -> int:
    """Forget once more what a finished job has changed, as answers may have been made from the old text meanwhile.

    ``changed``: what ``documents_since`` found. Where it is None, since nobody listed them, or where documents are
    gone, which no list names, everything that was made from the base goes. How many calls that took; 0 while the job
    runs, and for one that changed nothing, so that it may be asked about as often as one likes.
    """
    if not job.over or not job.changed:
        return 0
    if changed is None or job.deleted:
        await target.invalidate(base=job.base)
        return 1
    await _forget(changed, target)
    return len(changed)


def seconds_of(told: object) -> float:
    """Seconds UTC epoch of a time: a datetime as boto3 gives it, a number, or ISO 8601. Raises ``ValueError``."""
    if isinstance(told, datetime):
        return told.timestamp()
    if isinstance(told, str):
        return datetime.fromisoformat(told).timestamp()
    if isinstance(told, int | float):
        return float(told)
    raise ValueError(f"a time must be a datetime, a number or ISO 8601, not {type(told).__name__}")
