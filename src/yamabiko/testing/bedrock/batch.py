"""Batch inference: jobs that read and write JSON lines, with a local folder in S3's place.

``s3://bucket/a/b.jsonl`` is the file ``<folder>/bucket/a/b.jsonl``. A test writes its input there and reads the output
there, under ``<output>/<job id>/``.

Source: Bedrock API reference, "CreateModelInvocationJob"; user guide, "Format and upload your batch inference data"
(read 2026-11-23).
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from yamabiko.testing.bedrock.checks import between, member
from yamabiko.testing.bedrock.faults import Refused, invalid

Invoke: TypeAlias = Callable[[str, Mapping[str, Any], str], Awaitable[Mapping[str, Any]]]

_NAME = re.compile(r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9+\-.]){0,63}")
_ROLE = re.compile(r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+")
_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/"


@dataclass(slots=True)
class _Job:
    arn: str
    body: Mapping[str, Any] = field(repr=False)
    submitted: float
    ends: float
    status: str = "Submitted"
    message: str = ""
    counts: dict[str, int] = field(default_factory=dict)


class BatchJobs:
    """Jobs by ARN. ``folder`` stands for S3 (None: no job can be made); a job takes ``seconds`` by the clock."""

    def __init__(self, folder: Path | None, *, seconds: float, least_records: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._least = least_records
        self._jobs: dict[str, _Job] = {}
        self._numbers = itertools.count(1)

    def create(self, body: Mapping[str, Any], *, now: float) -> str:
        """Submit a job; gives its ARN. The same ``clientRequestToken`` again gives the same job. Raises ``Refused``."""
        if self._folder is None:
            raise Refused("AccessDeniedException", "This stand-in has no folder for S3: give it s3_folder.")
        name = member(body, "jobName", str)
        if not _NAME.fullmatch(name) or not _ROLE.fullmatch(member(body, "roleArn", str)):
            raise invalid("1 validation error detected: Value at 'jobName' or 'roleArn' failed to satisfy constraint")
        between(body.get("timeoutDurationInHours"), 24, 168, "timeoutDurationInHours")
        for key, inner in (("inputDataConfig", "s3InputDataConfig"), ("outputDataConfig", "s3OutputDataConfig")):
            self._path(member(member(member(body, key, dict), inner, dict, where=f"{key}."), "s3Uri", str))
        token = body.get("clientRequestToken")
        for job in self._jobs.values():
            if token is not None and job.body.get("clientRequestToken") == token:
                return job.arn
            if job.body["jobName"] == name:
                raise Refused("ConflictException", "The provided job name is currently being used.")
        arn = f"{_ARN}{next(self._numbers):012d}"
        self._jobs[arn] = _Job(arn, dict(body), now, now + self._seconds)
        return arn

    async def settle(self, now: float, invoke: Invoke) -> None:
        """Do the work of the jobs that have ended by ``now``."""
        for job in self._jobs.values():
            if job.status in ("Submitted", "InProgress"):
                job.status = "InProgress"
                if now >= job.ends:
                    await self._work(job, invoke)

    def stop(self, identifier: str, *, now: float) -> None:
        """Stop a job that has not ended; raises ``Refused``."""
        job = self._known(identifier)
        if job.status not in ("Submitted", "InProgress") or now >= job.ends:
            raise Refused("ConflictException", "The job has already ended.")
        job.status, job.ends = "Stopped", now

    def told(self, identifier: str, *, now: float) -> dict[str, Any]:
        """The body of GetModelInvocationJob; raises ``Refused``."""
        job = self._known(identifier)
        kept = ("jobName", "modelId", "roleArn", "inputDataConfig", "outputDataConfig", "clientRequestToken")
        told = {key: job.body[key] for key in (*kept, "timeoutDurationInHours") if key in job.body}
        told |= {"jobArn": job.arn, "status": job.status, "submitTime": _timestamp(job.submitted)} | job.counts
        told["lastModifiedTime"] = _timestamp(min(now, job.ends))
        if job.message:
            told["message"] = job.message
        if job.status not in ("Submitted", "InProgress"):
            told["endTime"] = _timestamp(job.ends)
        return told

    def _known(self, identifier: str) -> _Job:
        job = self._jobs.get(identifier) or self._jobs.get(_ARN + identifier)
        if job is None:
            raise Refused("ResourceNotFoundException", "Could not find a job with the provided identifier.")
        return job

    async def _work(self, job: _Job, invoke: Invoke) -> None:
        source = self._path(job.body["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
        files = sorted(source.glob("**/*.jsonl")) if source.is_dir() else [source]
        lines = {file: file.read_text("utf-8").splitlines() for file in files if file.is_file()}
        total = sum(len(records) for records in lines.values())
        if total < max(1, self._least):
            job.status = "Failed"
            job.message = f"The input has {total} records, and a job needs {max(1, self._least)} at least."
            return
        identifier = job.arn.rpartition("/")[2]
        target = self._path(job.body["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]) / identifier
        target.mkdir(parents=True, exist_ok=True)
        failed = 0
        for file, records in lines.items():
            outputs = [await self._record(job, record, invoke) for record in records]
            failed += sum("error" in output for output in outputs)
            told = "".join(json.dumps(output, ensure_ascii=False) + "\n" for output in outputs)
            (target / f"{file.name}.out").write_text(told, "utf-8")
        job.counts = {
            "totalRecordCount": total,
            "processedRecordCount": total,
            "successRecordCount": total - failed,
            "errorRecordCount": failed,
        }
        (target / "manifest.json.out").write_text(json.dumps(job.counts), "utf-8")
        job.status = "Completed"

    async def _record(self, job: _Job, line: str, invoke: Invoke) -> dict[str, Any]:
        record = _parsed(line)
        if record is None:
            return {"error": {"errorCode": 400, "errorMessage": "The record is not valid JSON with a modelInput."}}
        try:
            output = await invoke(
                job.body["modelId"], record["modelInput"], job.body.get("modelInvocationType", "InvokeModel")
            )
        except Refused as refused:
            return record | {"error": {"errorCode": refused.status, "errorMessage": refused.message}}
        return record | {"modelOutput": output}

    def _path(self, uri: str) -> Path:
        parts = urlsplit(uri)
        steps = [parts.netloc, *parts.path.split("/")]
        if self._folder is None or parts.scheme != "s3" or not parts.netloc or ".." in steps:
            raise invalid("1 validation error detected: Value at 's3Uri' is not an s3:// address")
        return self._folder.joinpath(*[step for step in steps if step])


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("modelInput"), dict) else None


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
