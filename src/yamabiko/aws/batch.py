"""Bedrock's batch inference: many records in one job that takes hours and costs less. Never on the way of a look-up.

A job's records lie beside its results, and a note of it (``job.json``) beside both: who starts it again finds what is
under way, and a job is never paid for twice.

Sources: Amazon Bedrock API reference, "CreateModelInvocationJob"; user guide, "Format and upload your batch inference
data" and "View the results of a batch inference job" (read 2026-11-24).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias

from yamabiko.aws.bedrock_calls import Access, Calls
from yamabiko.errors import ConfigurationError, ServiceError

Kind: TypeAlias = Literal["InvokeModel", "Converse"]

OVER = frozenset({"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"})
_WITH_RESULTS = frozenset({"Completed", "PartiallyCompleted"})
_WHERE = re.compile(r"s3://([a-z0-9][-.a-z0-9]{1,61}[a-z0-9])/?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of a ``name``; each ``attempt`` is one at the service. ``done``: its results have been taken over.

    ``total`` and ``processed`` are counts of records; 0 where the service does not tell.
    """

    name: str
    attempt: int
    arn: str = ""
    done: bool = False
    status: str = ""
    total: int = 0
    processed: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in OVER

    @property
    def has_results(self) -> bool:
        """Whether some records may have been answered."""
        return self.status in _WITH_RESULTS


class Files(Protocol):
    """Files by their S3 keys."""

    async def write(self, key: str, data: bytes, /) -> None:
        """Replace a file."""

    async def read(self, key: str, /) -> bytes | None:
        """A file; None where there is none."""

    async def names(self, prefix: str, /) -> list[str]:
        """The keys that begin so, in order."""

    async def close(self) -> None:
        """Let go of connections."""


class S3Files:
    """A bucket. Raises ``ServiceError`` and ``ConfigurationError``."""

    def __init__(self, bucket: str, access: Access) -> None:
        self._bucket = bucket
        self._calls = Calls("s3", access)

    async def write(self, key: str, data: bytes, /) -> None:
        """See ``Files``."""
        await self._calls.call("put_object", {"Bucket": self._bucket, "Key": key, "Body": data}, _nothing)

    async def read(self, key: str, /) -> bytes | None:
        """See ``Files``."""
        try:
            return await self._calls.call("get_object", {"Bucket": self._bucket, "Key": key}, _body)
        except ServiceError as error:
            if error.code in ("NoSuchKey", "404"):
                return None
            raise

    async def names(self, prefix: str, /) -> list[str]:
        """See ``Files``."""
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            arguments = {"Bucket": self._bucket, "Prefix": prefix, **more}
            page = await self._calls.call("list_objects_v2", arguments, dict)
            found += [item["Key"] for item in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return sorted(found)
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def close(self) -> None:
        """See ``Files``."""
        await self._calls.close()


class FolderFiles:
    """A folder in a bucket's place, for ``yamabiko.testing.bedrock``: ``<folder>/<bucket>/<key>``."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self._root = folder / bucket

    async def write(self, key: str, data: bytes, /) -> None:
        """See ``Files``."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(path.write_bytes, data)

    async def read(self, key: str, /) -> bytes | None:
        """See ``Files``."""
        path = self._root / key
        return await asyncio.to_thread(path.read_bytes) if path.is_file() else None

    async def names(self, prefix: str, /) -> list[str]:
        """See ``Files``."""
        found = (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix))

    async def close(self) -> None:
        """See ``Files``."""


class BatchInference:
    """Jobs under ``where`` (``s3://BUCKET/PREFIX``), done by the service as ``role`` (the ARN of an IAM role).

    ``folder`` stands in a bucket's place. Raises ``ConfigurationError``; every call ``ServiceError`` too.
    """

    def __init__(self, where: str, *, role: str, access: Access, files: Access, folder: Path | None = None) -> None:
        found = _WHERE.fullmatch(where)
        if found is None:
            raise ConfigurationError("--batch must be s3://BUCKET/PREFIX, where records and results may be kept")
        if not role.startswith("arn:"):
            raise ConfigurationError("--batch-role must be the ARN of the role that Bedrock takes for the job")
        self._bucket, self._prefix = found[1], found[2].strip("/")
        self._role = role
        self._calls = Calls("bedrock", access)
        self._files: Files = S3Files(self._bucket, files) if folder is None else FolderFiles(self._bucket, folder)

    async def noted(self, name: str) -> Job | None:
        """The last attempt of this name; None where there is none."""
        note = await self._files.read(self._key(name, "job.json"))
        return None if note is None else Job(**json.loads(note))

    async def start(
        self, name: str, model: str, kind: Kind, records: Iterable[tuple[str, Mapping[str, Any]]], *, hours: int = 24
    ) -> Job:
        """Begin the next attempt: each record is an id and the input of the model.

        Noted before it is asked for: whoever is interrupted in between asks again with the same token, and the service
        gives the same job.
        """
        before = await self.noted(name)
        job = before if before is not None and not before.done and not before.arn else None
        if job is None:
            job = Job(name=name, attempt=1 if before is None else before.attempt + 1)
            lines = (json.dumps({"recordId": one, "modelInput": body}, ensure_ascii=False) for one, body in records)
            await self._files.write(self._input(job), ("\n".join(lines) + "\n").encode())
            await self._note(job)
        request = {
            "jobName": f"yamabiko-{name}-{job.attempt}",
            "clientRequestToken": f"{name}-{job.attempt}",
            "roleArn": self._role,
            "modelId": model,
            "modelInvocationType": kind,
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": self._uri(self._input(job))}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": self._uri(self._output(job))}},
            "timeoutDurationInHours": hours,
        }
        made = await self._calls.call("create_model_invocation_job", request, dict)
        job = replace(job, arn=made["jobArn"], status="Submitted")
        await self._note(job)
        return job

    async def seen(self, job: Job) -> Job:
        """The job as it stands at the service now."""
        told = await self._calls.call("get_model_invocation_job", {"jobIdentifier": job.arn}, dict)
        total, processed = told.get("totalRecordCount", 0), told.get("processedRecordCount", 0)
        return replace(job, status=told["status"], total=total, processed=processed)

    async def results(self, job: Job) -> AsyncIterator[tuple[str, Mapping[str, Any] | None]]:
        """Record ids with what the model gave, in any order; None for a record that failed."""
        for key in await self._files.names(self._output(job)):
            if key.endswith(".jsonl.out"):
                for line in (await self._files.read(key) or b"").splitlines():
                    record = json.loads(line)
                    output = record.get("modelOutput")
                    yield str(record.get("recordId", "")), output if isinstance(output, dict) else None

    async def finish(self, job: Job) -> None:
        """Note that the results have been taken over, or that there will be none."""
        await self._note(replace(job, done=True))

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self._calls.close()
        await self._files.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _note(self, job: Job) -> None:
        await self._files.write(self._key(job.name, "job.json"), json.dumps(asdict(job)).encode())

    def _key(self, name: str, file: str) -> str:
        return "/".join(part for part in (self._prefix, name, file) if part)

    def _input(self, job: Job) -> str:
        return self._key(job.name, f"{job.attempt}/records.jsonl")

    def _output(self, job: Job) -> str:
        return self._key(job.name, f"{job.attempt}/results/")

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


def _nothing(_response: Any) -> None:
    return None


def _body(response: Any) -> bytes:
    with response["Body"] as body:
        read: bytes = body.read()
    return read
