"""The stand-in itself: a server on a free loopback port, what it enforces on every call, and what a test may script."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from yamabiko.testing.bedrock.answering import Answer, default_answer
from yamabiko.testing.bedrock.batch import BatchJobs
from yamabiko.testing.bedrock.calls import Call
from yamabiko.testing.bedrock.embeddings import Embed
from yamabiko.testing.bedrock.eventstream import CONTENT_TYPE, encode_event, encode_exception
from yamabiko.testing.bedrock.faults import Failure, Refused
from yamabiko.testing.bedrock.http import Cut, Incoming, Outgoing, serve_connection
from yamabiko.testing.bedrock.knowledge import Document
from yamabiko.testing.bedrock.models import CATALOGUE, BedrockModel, Catalogue
from yamabiko.testing.bedrock.results import Result
from yamabiko.testing.bedrock.service import OPERATIONS, Asked, Service, asked_for, encoded
from yamabiko.testing.bedrock.signing import check_signature
from yamabiko.testing.bedrock.vectors import hashed_ngrams

_CALLS_KEPT = 100_000
_HEAD_BYTES = 64 * 1_024
_START_SECONDS = 30.0


class BedrockStandIn:
    """Amazon Bedrock for tests: ``with BedrockStandIn() as stand_in: boto3.client(..., endpoint_url=stand_in.url)``.

    It runs on a thread of its own, also under ``async with``. ``docs/bedrock-stand-in.md`` says what it models.

    ``embed`` gives the vector of a text in the dimension asked for, ``answer`` what a model says to a ``Prompt``; both
    run on the server's thread (``answer`` may be a coroutine function). ``models`` are added to the catalogue.
    ``credentials`` (access key -> secret key) has every signature checked; None takes any well-formed one.
    ``latency_seconds`` (>= 0) is how long each operation takes, one number or by operation (``"*"`` for the others);
    ``event_seconds`` is the pause between the events of a stream. ``requests_per_second`` (> 0, None: no limit) lets a
    burst of one second's calls through and throttles the rest. ``s3_folder`` is where batch jobs read and write,
    ``batch_seconds`` and ``ingestion_seconds`` are how long jobs take by ``clock`` (seconds UTC epoch),
    ``batch_least_records`` how many records one must have. ``page_results`` bounds a page of Retrieve.

    ``latency_seconds``, ``event_seconds``, ``requests_per_second`` and ``ingestion_seconds`` may be set at any time.
    What ``embed`` or ``answer`` raises is an InternalServerException to the client, and raised again when the stand-in
    is closed.
    """

    def __init__(
        self,
        *,
        embed: Embed = hashed_ngrams,
        answer: Answer = default_answer,
        models: Iterable[BedrockModel] = (),
        credentials: Mapping[str, str] | None = None,
        latency_seconds: float | Mapping[str, float] = 0.0,
        event_seconds: float = 0.0,
        requests_per_second: float | None = None,
        ingestion_seconds: float = 0.0,
        s3_folder: Path | None = None,
        batch_seconds: float = 0.0,
        batch_least_records: int = 1,
        page_results: int = 100,
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.latency_seconds = latency_seconds
        self.event_seconds = event_seconds
        self.requests_per_second = requests_per_second
        self.ingestion_seconds = ingestion_seconds
        self._service = Service(
            catalogue=Catalogue([*CATALOGUE, *models]),
            embed=embed,
            answer=answer,
            jobs=BatchJobs(s3_folder, seconds=batch_seconds, least_records=batch_least_records),
            clock=clock,
            latency=self._latency,
            ingestion_seconds=lambda: self.ingestion_seconds,
            page_results=page_results,
        )
        self._credentials = None if credentials is None else dict(credentials)
        self._clock = clock
        self._wanted_port = port
        self._lock = threading.Condition()
        self._calls: deque[Call] = deque(maxlen=_CALLS_KEPT)
        self._counts: Counter[str] = Counter()
        self._arrived: Counter[str] = Counter()
        self._failures: defaultdict[str, deque[Failure]] = defaultdict(deque)
        self._always: dict[str, Failure] = {}
        self._gates: list[tuple[frozenset[str], asyncio.Event]] = []
        self._tokens: tuple[float, float] | None = None
        self._surprise: Exception | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    # ------------------------------------------------------------------ its life

    def start(self) -> Self:
        """Listen; returns itself. Raises ``OSError`` where the port is taken."""
        started: deque[OSError | None] = deque()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready, started), name="bedrock-stand-in", daemon=True)
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise RuntimeError("the stand-in did not start")
        if (failed := started.popleft()) is not None:
            self._thread.join()
            raise failed
        return self

    def close(self) -> None:
        """Cut every connection and stop. Raises what ``embed`` or ``answer`` raised first, if anything."""
        if self._thread is not None and self._loop is not None and self._closing is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
            self._thread = None
        surprise, self._surprise = self._surprise, None
        if surprise is not None:
            raise surprise

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    @property
    def url(self) -> str:
        """The ``endpoint_url`` for bedrock-runtime, bedrock-agent-runtime, bedrock-agent and bedrock alike."""
        return f"http://127.0.0.1:{self._port}"

    # ------------------------------------------------------------------ documents and guardrails

    def put_document(self, base: str, uri: str, text: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Add or edit a document (``uri`` is ``s3://...``); Retrieve sees it after the next ingestion job."""
        self._service.bases.made(base).documents[uri] = Document(uri, text, dict(metadata or {}))

    def remove_document(self, base: str, uri: str) -> None:
        """Take a document away; Retrieve forgets it with the next ingestion job. Raises ``KeyError``."""
        del self._service.bases.made(base).documents[uri]

    def ingest(self, base: str) -> Mapping[str, int]:
        """Run an ingestion job to its end, whatever ``ingestion_seconds`` says; returns its statistics."""
        return self._service.bases.made(base).start(now=self._clock(), seconds=0.0).statistics

    def put_guardrail(
        self,
        identifier: str,
        words: Sequence[str],
        *,
        on_input: str = "Sorry, the model cannot answer this question.",
        on_output: str = "Sorry, the model cannot answer this question.",
    ) -> None:
        """Add a guardrail that intervenes where one of ``words`` stands in the prompt or in the answer."""
        self._service.guardrails.put(identifier, words, on_input, on_output)

    # ------------------------------------------------------------------ failures and gates

    def fail(self, operation: str, *failures: Failure, times: int = 1) -> None:
        """The next calls of ``operation`` (``"*"``: of any) fail so, one after another; ``times`` repeats the list."""
        _check_operations([operation])
        with self._lock:
            self._failures[operation].extend(list(failures) * times)

    def fail_always(self, operation: str, failure: Failure) -> None:
        """Every call of ``operation`` (``"*"``: of any) fails so, until ``recover``."""
        _check_operations([operation])
        with self._lock:
            self._always[operation] = failure

    def recover(self) -> None:
        """Forget all scripted failures."""
        with self._lock:
            self._failures.clear()
            self._always.clear()

    @contextmanager
    def held(self, *operations: str) -> Iterator[None]:
        """Inside, calls of these operations (none named: of all) get no answer; they get it when the block is left."""
        _check_operations(operations)
        loop, gate = self._running_loop(), asyncio.Event()
        entry = (frozenset(operations or OPERATIONS), gate)
        with self._lock:
            self._gates.append(entry)
        try:
            yield
        finally:
            with self._lock:
                self._gates.remove(entry)
            if self._loop is loop:  # else it was closed meanwhile, and cut what waited
                loop.call_soon_threadsafe(gate.set)

    # ------------------------------------------------------------------ what happened

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that were answered, refused or cut, in that order (the last 100,000)."""
        with self._lock:
            return tuple(self._calls)

    def count(self, operation: str | None = None) -> int:
        """How many calls were answered, refused or cut: of one operation, or of all."""
        with self._lock:
            return self._counts.total() if operation is None else self._counts[operation]

    def wait_for_arrivals(self, number: int, operation: str | None = None, *, timeout_seconds: float = 10.0) -> None:
        """Wait until that many calls have come in, answered or not; raises ``TimeoutError``."""

        def come() -> bool:
            return (self._arrived.total() if operation is None else self._arrived[operation]) >= number

        with self._lock:
            if not self._lock.wait_for(come, timeout_seconds):
                raise TimeoutError(f"{number} calls were waited for, {self._arrived.total()} came")

    # ------------------------------------------------------------------ the server's thread

    def _run(self, ready: threading.Event, started: deque[OSError | None]) -> None:
        asyncio.run(self._serve(ready, started))

    async def _serve(self, ready: threading.Event, started: deque[OSError | None]) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(self._connected, "127.0.0.1", self._wanted_port, limit=_HEAD_BYTES)
        except OSError as taken:
            started.append(taken)
            ready.set()
            return
        self._port = server.sockets[0].getsockname()[1]
        started.append(None)
        ready.set()
        try:
            await self._closing.wait()
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            self._loop = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(serve_connection(reader, writer, self._answer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the stand-in is not running: use it in a with block")
        return self._loop

    # ------------------------------------------------------------------ one call

    async def _answer(self, incoming: Incoming) -> Outgoing:
        at = self._clock()
        asked = Asked("Unknown", (), {})
        failure: Failure | None = None
        try:
            asked = asked_for(incoming)
            self._arrive(asked.operation)
            failure = self._next_failure(asked.operation)
            if failure is not None and failure.cuts and not (failure.after_events is not None and asked.streams):
                self._record(asked, incoming, at, status=0, code="cut")
                raise Cut
            check_signature(incoming, self._credentials)
            self._throttle(at)
            if failure is not None and not (failure.after_events is not None and asked.streams):
                raise failure.refusal()  # an error instead of an answer: nobody asks the model
            result = await self._result(asked)
        except Refused as refused:
            return self._refusal(asked, incoming, at, refused)
        await self._wait(asked.operation)
        headers = {"x-amzn-RequestId": str(uuid.uuid4()), **result.headers}
        if result.events is None:
            body = encoded(result)
            self._record(asked, incoming, at, status=result.status, response_bytes=len(body))
            return Outgoing(result.status, headers | {"Content-Type": "application/json"}, body)
        code = "" if failure is None else failure.code or "cut"
        self._record(asked, incoming, at, status=200, code=code)
        return Outgoing(200, headers | {"Content-Type": CONTENT_TYPE}, pieces=self._pieces(result, failure))

    async def _result(self, asked: Asked) -> Result:
        try:
            return await self._service.serve(asked)
        except Refused:
            raise
        except Exception as error:  # the test's own function: its client hears of it as of any fault of the service's
            self._surprise = self._surprise or error
            raise Refused(
                "InternalServerException", f"The stand-in's own function raised {type(error).__name__}."
            ) from error

    async def _pieces(self, result: Result, failure: Failure | None) -> AsyncIterator[bytes]:
        for number, (name, told) in enumerate(result.events or ()):
            if failure is not None and number == failure.after_events:
                break
            if number and self.event_seconds:
                await asyncio.sleep(self.event_seconds)
            yield encode_event(name, told)
        if failure is not None:
            if failure.cuts:
                raise Cut
            yield encode_exception(failure.code, failure.message)

    async def _wait(self, operation: str) -> None:
        if (seconds := self._latency(operation)) > 0:
            await asyncio.sleep(seconds)
        with self._lock:
            gates = [gate for operations, gate in self._gates if operation in operations]
        for gate in gates:
            await gate.wait()

    def _latency(self, operation: str) -> float:
        told = self.latency_seconds
        return told if isinstance(told, int | float) else told.get(operation, told.get("*", 0.0))

    def _throttle(self, now: float) -> None:
        rate = self.requests_per_second
        if rate is None:
            return
        burst = max(1.0, rate)
        left, since = self._tokens or (burst, now)
        left = min(burst, left + (now - since) * rate)
        self._tokens = (left - 1.0 if left >= 1.0 else left, now)
        if left < 1.0:
            raise Refused("ThrottlingException", "Too many requests, please wait before trying again.")

    def _next_failure(self, operation: str) -> Failure | None:
        with self._lock:
            for name in (operation, "*"):
                if self._failures[name]:
                    return self._failures[name].popleft()
            return self._always.get(operation) or self._always.get("*")

    def _refusal(self, asked: Asked, incoming: Incoming, at: float, refused: Refused) -> Outgoing:
        body = encoded(Result({"message": refused.message}))
        self._record(asked, incoming, at, status=refused.status, code=refused.code, response_bytes=len(body))
        headers = {
            "x-amzn-RequestId": str(uuid.uuid4()),
            "x-amzn-errortype": f"{refused.code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
            "Content-Type": "application/json",
        }
        return Outgoing(refused.status, headers, body)

    def _arrive(self, operation: str) -> None:
        with self._lock:
            self._arrived[operation] += 1
            self._lock.notify_all()

    def _record(
        self, asked: Asked, incoming: Incoming, at: float, *, status: int, code: str = "", response_bytes: int = 0
    ) -> None:
        call = Call(
            operation=asked.operation,
            model=asked.model,
            at=at,
            status=status,
            code=code,
            request_bytes=len(incoming.body),
            response_bytes=response_bytes,
            request=asked.body,
        )
        with self._lock:
            self._calls.append(call)
            self._counts[asked.operation] += 1
            self._lock.notify_all()


def _check_operations(operations: Iterable[str]) -> None:
    for operation in operations:
        if operation != "*" and operation not in OPERATIONS:
            raise ValueError(f"{operation!r} is no operation; there are {', '.join(sorted(OPERATIONS))} and '*'")
