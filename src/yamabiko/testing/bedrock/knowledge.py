"""Knowledge bases: documents that a test puts in, ingestion jobs that index them, and what Retrieve finds.

Source: API references of bedrock-agent ("StartIngestionJob") and bedrock-agent-runtime ("Retrieve"), read 2026-11-23.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from yamabiko.testing.bedrock.checks import at_most, between, member
from yamabiko.testing.bedrock.embeddings import Embed
from yamabiko.testing.bedrock.faults import Refused, invalid
from yamabiko.testing.bedrock.filters import matches
from yamabiko.testing.bedrock.vectors import count_tokens, likeness, normalised, sentences

DATA_SOURCE = "DSSTANDIN1"
"""The one data source of every base."""

_BASE_ID = re.compile(r"[0-9a-zA-Z]{10}")
_DIM = 256
_CHUNK_TOKENS = 300
_RESULTS = 5
_MOST_RESULTS = 100
_QUERY_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a base: an S3 URI, its text and its metadata."""

    uri: str
    text: str = field(repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document with its vector, as Retrieve gives it."""

    uri: str
    text: str = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)
    vector: np.ndarray[Any, np.dtype[np.float64]] = field(repr=False)
    score: float = 0.0

    def result(self) -> dict[str, Any]:
        """One of ``retrievalResults``."""
        return self.reference() | {"score": self.score}

    def reference(self) -> dict[str, Any]:
        """One of ``retrievedReferences``."""
        return {
            "content": {"type": "TEXT", "text": self.text},
            "location": {"type": "S3", "s3Location": {"uri": self.uri}},
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionJob:
    """A job that makes the documents of its start findable at ``ends``."""

    id: str
    base: str
    started: float
    ends: float
    statistics: Mapping[str, int]
    documents: Mapping[str, Document] = field(repr=False)

    def told(self, now: float) -> dict[str, Any]:
        """The member ``ingestionJob`` of the responses, as of ``now``."""
        status = "COMPLETE" if now >= self.ends else "STARTING" if now <= self.started else "IN_PROGRESS"
        nothing = dict.fromkeys(self.statistics, 0)
        return {
            "knowledgeBaseId": self.base,
            "dataSourceId": DATA_SOURCE,
            "ingestionJobId": self.id,
            "status": status,
            "statistics": dict(self.statistics) if status == "COMPLETE" else nothing,
            "startedAt": _timestamp(self.started),
            "updatedAt": _timestamp(min(now, self.ends)),
        }


class KnowledgeBase:
    """One base: ``documents`` as they are in the bucket now, and the index of the last job that ended."""

    def __init__(self, identifier: str, embed: Embed) -> None:
        if not _BASE_ID.fullmatch(identifier):
            raise ValueError(f"a knowledge base's id is ten letters and digits, not {identifier!r}")
        self.id = identifier
        self.documents: dict[str, Document] = {}
        self.jobs: dict[str, IngestionJob] = {}
        self._embed = embed
        self._indexed: Mapping[str, Document] = {}
        self._passages: dict[str, list[Passage]] = {}
        self._running: IngestionJob | None = None
        self._numbers = itertools.count(1)

    def start(self, *, now: float, seconds: float) -> IngestionJob:
        """Start a job of that length; raises ``Refused`` while one is running."""
        self.settle(now)
        if self._running is not None:
            raise Refused("ConflictException", f"There is an ongoing ingestion job on data source {DATA_SOURCE}.")
        before, after = self._indexed, dict(self.documents)
        statistics = {
            "numberOfDocumentsScanned": len(after),
            "numberOfMetadataDocumentsScanned": sum(bool(document.metadata) for document in after.values()),
            "numberOfNewDocumentsIndexed": len(after.keys() - before.keys()),
            "numberOfModifiedDocumentsIndexed": sum(after[uri] != before[uri] for uri in after.keys() & before.keys()),
            "numberOfDocumentsDeleted": len(before.keys() - after.keys()),
            "numberOfDocumentsFailed": 0,
        }
        job = IngestionJob(
            id=f"JOB{next(self._numbers):07d}",
            base=self.id,
            started=now,
            ends=now + seconds,
            statistics=statistics,
            documents=after,
        )
        self.jobs[job.id] = self._running = job
        self.settle(now)
        return job

    def settle(self, now: float) -> None:
        """Let a job that has ended by ``now`` take effect."""
        job = self._running
        if job is None or now < job.ends:
            return
        self._passages = {  # a new one, since a test's thread may settle while the server's reads
            uri: self._passages[uri] if self._indexed.get(uri) == document else self._chunked(document)
            for uri, document in job.documents.items()
        }
        self._indexed, self._running = job.documents, None

    def search(self, body: Mapping[str, Any], *, now: float) -> list[Passage]:
        """The passages for a query, best first; raises ``Refused``."""
        self.settle(now)
        query = member(member(body, "retrievalQuery", dict), "text", str, where="retrievalQuery.")
        at_most(query, _QUERY_CHARACTERS, "retrievalQuery.text")
        if not query.strip():
            raise invalid("The retrieval query must have a text.")
        config = member(body, "retrievalConfiguration", dict, required=False) or {}
        settings = config.get("vectorSearchConfiguration") or config.get("managedSearchConfiguration") or {}
        return self.find(query, settings)

    def find(self, query: str, settings: Mapping[str, Any]) -> list[Passage]:
        """The passages for a checked query under a ``vectorSearchConfiguration``."""
        where = "vectorSearchConfiguration."
        limit = member(settings, "numberOfResults", int, where=where, required=False) or _RESULTS
        between(settings.get("numberOfResults"), 1, _MOST_RESULTS, where + "numberOfResults")
        kind = settings.get("overrideSearchType", "SEMANTIC")
        if kind not in ("SEMANTIC", "HYBRID"):
            raise invalid(f"1 validation error detected: Value at '{where}overrideSearchType' is not a search type")
        wanted = settings.get("filter")
        found = [p for passages in self._passages.values() for p in passages]
        found = [passage for passage in found if not wanted or matches(wanted, passage.metadata)]
        vector = np.asarray(normalised(self._embed(query, _DIM)))
        scored = []
        for passage in found:
            score = (1.0 + float(passage.vector @ vector)) / 2.0
            if kind == "HYBRID":
                score = (score + likeness(query, passage.text)) / 2.0
            scored.append(replace(passage, score=score))
        best = sorted(scored, key=lambda passage: (-passage.score, passage.uri))[:limit]
        return _reranked(query, best, settings.get("rerankingConfiguration"))

    def _chunked(self, document: Document) -> list[Passage]:
        metadata = {
            **document.metadata,
            "x-amz-bedrock-kb-source-uri": document.uri,
            "x-amz-bedrock-kb-data-source-id": DATA_SOURCE,
        }
        passages = []
        for number, text in enumerate(_chunks(document.text)):
            chunk = hashlib.sha256(f"{document.uri}\0{number}".encode()).hexdigest()[:20]
            vector = np.asarray(normalised(self._embed(text, _DIM)))
            told = metadata | {"x-amz-bedrock-kb-chunk-id": f"1%3A0%3A{chunk}"}
            passages.append(Passage(document.uri, text, told, vector))
        return passages


class KnowledgeBases:
    """Bases by id."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._known: dict[str, KnowledgeBase] = {}

    def made(self, identifier: str) -> KnowledgeBase:
        """The base of that id, made where there is none."""
        if identifier not in self._known:
            self._known[identifier] = KnowledgeBase(identifier, self._embed)
        return self._known[identifier]

    def known(self, identifier: str) -> KnowledgeBase:
        """The base of an id or ARN; raises ``Refused``."""
        name = identifier.rpartition("/")[2]
        if not _BASE_ID.fullmatch(name):
            raise invalid("1 validation error detected: Value at 'knowledgeBaseId' must be ten letters and digits")
        if name not in self._known:
            raise Refused("ResourceNotFoundException", f"Knowledge base with id {name} does not exist")
        return self._known[name]


def _chunks(text: str) -> list[str]:
    """Pieces of at most some 300 tokens that end where a sentence ends, which is much like the service's default."""
    chunks, tokens = [""], 0
    for sentence in sentences(text):
        size = count_tokens(sentence)
        if tokens and tokens + size > _CHUNK_TOKENS:
            chunks.append("")
            tokens = 0
        chunks[-1] += sentence
        tokens += size
    return [chunk.strip() for chunk in chunks if chunk.strip()]


def _reranked(query: str, passages: Sequence[Passage], config: Mapping[str, Any] | None) -> list[Passage]:
    if config is None:
        return list(passages)
    where = "rerankingConfiguration."
    if member(config, "type", str, where=where) != "BEDROCK_RERANKING_MODEL":
        raise invalid(f"1 validation error detected: Value at '{where}type' is not a type of reranking")
    settings = member(config, "bedrockRerankingConfiguration", dict, where=where)
    member(member(settings, "modelConfiguration", dict, where=where), "modelArn", str, where=where)
    limit = member(settings, "numberOfRerankedResults", int, where=where, required=False)
    between(limit, 1, _MOST_RESULTS, where + "numberOfRerankedResults")
    again = [replace(passage, score=likeness(query, passage.text)) for passage in passages]
    return sorted(again, key=lambda passage: (-passage.score, passage.uri))[: limit or len(again)]


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
