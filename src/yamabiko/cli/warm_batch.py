"""``yamabiko warm --batch``: the answers and Titan's vectors from batch inference jobs of Bedrock."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from yamabiko.aws.batch import BatchInference, Job, Kind
from yamabiko.build import bedrock_access, make_embedder, open_cache
from yamabiko.cache import Cache
from yamabiko.cli.terminal import Unavailable
from yamabiko.cli.warm_file import Row
from yamabiko.cli.warm_run import Warming
from yamabiko.core.normalise import normalise
from yamabiko.embedders.bedrock import TitanEmbedder
from yamabiko.errors import EmbeddingError, InvalidRequest
from yamabiko.ports import Embedder
from yamabiko.settings import Settings
from yamabiko.types import Miss, Vector
from yamabiko.wire.converse import to_arguments, to_json
from yamabiko.wire.converse_reply import reply_from

Told: TypeAlias = Callable[[int, int], None]
"""Is called with how many records are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the options say: where records and results are kept, the role, a folder in S3's place, seconds to wait."""

    where: str
    role: str
    folder: Path | None
    poll_seconds: float
    model: str


async def warm_by_batch(settings: Settings, batch: Batch, warming: Warming, rows: Sequence[Row], told: Told) -> None:
    """Start the jobs or find them, wait for them, and store what they gave. Run again after whatever interrupts it."""
    settings = replace(settings, policy=replace(settings.policy, semantic=False))  # a similar question is another one
    embedder = make_embedder(settings)
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(
            open_cache(settings=settings, embedder=embedder or "none", hooks=[warming.note])
        )
        control = replace(bedrock_access(settings.bedrock), endpoint_url=settings.bedrock.control_endpoint_url)
        files = replace(bedrock_access(settings.bedrock), endpoint_url="")
        jobs = await stack.enter_async_context(
            BatchInference(batch.where, role=batch.role, access=control, files=files, folder=batch.folder)
        )
        wanted = [(row, await warming.absent(cache, row)) for row in rows]
        missing = {_id(row): (row, miss) for row, miss in wanted if miss is not None}
        started = [
            await _begun(
                jobs, _name("answers", batch.model, rows), batch.model, "Converse", _questions(missing.values())
            ),
        ]
        if isinstance(embedder, TitanEmbedder):
            name = _name("vectors", embedder.id, rows)
            inputs = _texts(missing.values(), embedder)
            started.append(await _begun(jobs, name, embedder.priced_as, "InvokeModel", inputs))
        running = [job for job in started if job is not None]
        outputs = await _waited(jobs, running, batch.poll_seconds, told)
        for one, row_and_miss in missing.items():
            await _stored(cache, warming, row_and_miss, outputs.get(one, {}), embedder)
        await cache.drain()
        for job in running:
            await jobs.finish(job)


async def _begun(
    jobs: BatchInference, name: str, model: str, kind: Kind, records: Iterable[tuple[str, Mapping[str, Any]]]
) -> Job | None:
    """The job that is under way already, or a new one; None where nothing is wanted."""
    noted = await jobs.noted(name)
    if noted is not None and noted.arn and not noted.done:
        return noted
    listed = list(records)
    return await jobs.start(name, model, kind, listed) if listed else None


async def _waited(
    jobs: BatchInference, running: Sequence[Job], poll_seconds: float, told: Told
) -> dict[str, dict[str, Mapping[str, Any] | None]]:
    """What each record got, by its id and by the kind of job. Raises ``Unavailable`` where a job came to nothing."""
    outputs: dict[str, dict[str, Mapping[str, Any] | None]] = {}
    while True:
        seen = [await jobs.seen(job) for job in running]
        told(sum(job.processed for job in seen), sum(job.total for job in seen))
        if all(job.over for job in seen):
            break
        await asyncio.sleep(poll_seconds)
    for job in seen:
        if not job.has_results:
            await jobs.finish(job)
            raise Unavailable(f"the batch job {job.arn} ended as {job.status}; its reason stands in Bedrock's console")
        kind = job.name.partition("-")[0]
        async for one, output in jobs.results(job):
            outputs.setdefault(one, {})[kind] = output
    return outputs


async def _stored(
    cache: Cache,
    warming: Warming,
    wanted: tuple[Row, Miss],
    output: Mapping[str, Mapping[str, Any] | None],
    embedder: Embedder | None,
) -> None:
    """One answer into the cache, or the reason why not among what was refused."""
    row, miss = wanted
    reply: Any = row.answer
    if reply is None:
        told = output.get("answers")
        if told is None:
            warming.refused["the batch job gave no answer"] += 1
            return
        try:
            reply = reply_from(told, model=row.request.model)
        except InvalidRequest:
            warming.refused["the batch job gave what is no answer of Converse"] += 1
            return
    await cache.remember(replace(miss, vector=await _vector(miss, output.get("vectors"), embedder)), reply)


async def _vector(miss: Miss, output: Mapping[str, Any] | None, embedder: Embedder | None) -> Vector | None:
    """The job's vector; where there is none of it, the embedder's own."""
    if embedder is None or not miss.canonical.text:
        return None
    if isinstance(embedder, TitanEmbedder) and output is not None:
        try:
            return embedder.vector_from(output)
        except EmbeddingError:
            pass  # asked for once more, alone
    return (await embedder.embed([miss.canonical.text]))[0]


def _questions(missing: Iterable[tuple[Row, Miss]]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for row, _ in missing:
        if row.answer is None:
            arguments = dict(to_json(to_arguments(row.asked)))
            arguments.pop("modelId")
            yield _id(row), arguments


def _texts(missing: Iterable[tuple[Row, Miss]], embedder: TitanEmbedder) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for row, miss in missing:
        if miss.canonical.text and embedder.may_fit(miss.canonical.text):
            yield _id(row), embedder.body_of(miss.canonical.text)


def _id(row: Row) -> str:
    """A row's id: the same in every run, whatever is stored by then."""
    request = row.request
    parts = (
        request.tenant,
        request.user,
        request.model,
        request.system,
        request.knowledge,
        normalise(request).question,
    )
    return hashlib.sha256("\x00".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:32]


def _name(kind: str, model: str, rows: Sequence[Row]) -> str:
    """A job's name: the same in every run over the same file."""
    digest = hashlib.sha256(model.encode())
    for row in rows:
        if kind != "answers" or row.answer is None:
            digest.update(_id(row).encode())
    return f"{kind}-{digest.hexdigest()[:20]}"
