"""The entry point of an AWS Lambda function that forgets what documents say no more.

Handler: ``yamabiko.rag.lambda_handler.handler``. Its environment says where the cache is, ``YAMABIKO_URL`` and the like
(docs/settings.md). It takes what ``yamabiko.aws.events`` reads: events of S3, directly or through EventBridge, SNS or
SQS; and ``{"ingestionJob": {...}, "documentDetails": [...]}``, as GetIngestionJob and ListKnowledgeBaseDocuments of
bedrock-agent return them, from whatever waits for an ingestion job, such as a state machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yamabiko.aws.events import after_ingestion, documents_since, handle, ingestion_from
from yamabiko.build import locate, open_cache
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.settings import FILE_VARIABLE, Settings


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001 - as Lambda calls it
    """Forget what the event says has changed. Raises ``YamabikoError``, so that Lambda tries again."""
    path = os.environ.get(FILE_VARIABLE)
    toml = Path(path).read_text(encoding="utf-8") if path else ""
    return asyncio.run(forget(event, Settings.load(environ=os.environ, toml=toml)))


async def forget(event: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The same for settings that are at hand. Where there is no cache, there is nothing to forget."""
    recorded = await locate(settings).recorded()
    if recorded is None:
        return {"batchItemFailures": []} if "Records" in event else {"changes": 0}
    async with open_cache(settings=settings, embedder=RecordedEmbedder(*recorded)) as cache:
        if "ingestionJob" not in event:
            return await handle(event, cache)
        job = ingestion_from(event)
        details = event.get("documentDetails")
        changed = None if details is None else documents_since(details, job.started)
        return {"changes": await after_ingestion(job, changed, cache), "over": job.over, "knowledge": job.knowledge}
