"""The look-ups that were drawn for a label and have none yet, kept where a crash does not reach them.

Two logs of the shared state. ``trials`` holds what is needed to finish: who asked what, the stored answer, the fresh
one once there is one, and every attempt; it is trimmed as trials are done, and holds no text of those that are.
``trials:verdicts`` holds one verdict for each, the first that was written, and is kept for two days: longer than
anybody works on a trial. Without shared state all of it is this process's own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import takewhile
from typing import Any, TypeAlias

from yamabiko.errors import InvalidRequest, StoreError
from yamabiko.learn.prompt import Verdict
from yamabiko.message import Message
from yamabiko.ports import Logged, SharedState
from yamabiko.selecting import made_from
from yamabiko.types import Candidate, Entry, Key, Question, Reply, Request, Scope, Selector, Source, Trial

LOG = "trials"
VERDICTS = "trials:verdicts"
VERDICT_KEPT_SECONDS = 2 * 86400.0

_PAGE = 500
_LARGEST_SCAN = 20_000
"""So many items are looked at in one go; what lies behind them has its turn when they are trimmed."""
_LOCAL = 10_000
"""So many trials of its own a process remembers; older ones it would have to look up."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A trial with the question that was asked, and how far it has come.

    ``opened`` and ``touched`` are seconds UTC epoch: when it was drawn and last worked on. ``fresh``: the answer to
    compare with, where there is one. ``attempts``: how often somebody set about judging it. ``own``: all of it comes
    from this process's memory; otherwise it was read from the store, to which others may write.
    """

    trial: Trial
    request: Request
    key: Key
    opened: float
    fresh: Reply | None = field(default=None, repr=False)
    attempts: int = 0
    touched: float = 0.0
    own: bool = field(default=False, compare=False)

    def fits(self, selector: Selector) -> bool:
        """Whether a purge of this selector would remove the stored answer, or the one to this question."""
        entry, scope = self.trial.candidate.entry, self.key.scope
        wanted = (
            (selector.id, (entry.id, self.key.hex)),
            (selector.tag, (*entry.tags, *self.request.tags)),
            (selector.tenant, (scope.tenant,)),
            (selector.user, (scope.user,)),
            (selector.model, (scope.model,)),
        )
        if selector.dead_at is not None or not all(value is None or value in values for value, values in wanted):
            return False
        return made_from((*entry.reply.sources, *(self.fresh.sources if self.fresh else ())), selector)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The one verdict of a trial, which rung came to it, and whether all has been done that follows from it."""

    verdict: Verdict
    how: str
    at: float
    done: bool = False


class Journal:
    """Reads and writes the two logs. ``StoreUnavailable`` comes through, except where it says otherwise."""

    def __init__(self, shared: SharedState | None) -> None:
        self._shared = shared
        self._local: dict[str, Case] = {}
        self._records: dict[str, Record] = {}
        self._read_up_to = 0

    async def open(self, case: Case) -> bool:
        """Keep a new trial; False where only this process knows of it: the store failed, or its texts are too large."""
        while len(self._local) >= _LOCAL:
            del self._local[next(iter(self._local))]
        self._local[case.trial.id] = replace(case, own=True)
        if self._shared is None:
            return False
        try:
            await self._shared.append_log(LOG, {f"{case.trial.id}:open": _encode(_case_json(case))})
        except (StoreError, InvalidRequest):
            return False
        return True

    async def begin(self, case: Case, attempt: str, now: float) -> Case:
        """Note, before anything is tried, that it is, and the fresh answer where there is one."""
        begun = replace(case, attempts=case.attempts + 1, touched=now)
        said = {"kind": "try", "id": case.trial.id, "at": now, "attempt": attempt}
        return await self._note(begun, {f"{case.trial.id}:try:{attempt}": _encode(said), **_fresh_item(case)})

    async def answer(self, case: Case) -> Case:
        """Note the fresh answer, which was made for this trial alone."""
        return await self._note(case, _fresh_item(case))

    async def _note(self, case: Case, items: Mapping[str, bytes]) -> Case:
        if case.trial.id in self._local:
            self._local[case.trial.id] = case
        if self._shared is not None:
            with contextlib.suppress(InvalidRequest):  # an answer that is too large to be kept is judged now or never
                await self._shared.append_log(LOG, items)
        return case

    async def settle(self, trial_id: str, verdict: Verdict, how: str, now: float) -> Record:
        """Write the verdict; the one that stands, which is another's where that was first."""
        record = Record(verdict=verdict, how=how, at=now)
        if self._shared is not None:
            said = {"kind": "verdict", "id": trial_id, "verdict": verdict, "how": how, "at": now}
            if not await self._shared.append_log(VERDICTS, {f"{trial_id}:verdict": _encode(said)}):
                await self._refresh()
        return self._records.setdefault(trial_id, record)

    async def record(self, trial_id: str) -> Record | None:
        """The verdict that was written by whomever."""
        await self._refresh()
        return self._records.get(trial_id)

    async def finish(self, trial_id: str, now: float) -> None:
        """All is done that follows from the verdict."""
        if self._shared is not None:
            done = {"kind": "done", "id": trial_id, "at": now}
            await self._shared.append_log(VERDICTS, {f"{trial_id}:done": _encode(done)})
        if trial_id in self._records:
            self._records[trial_id] = replace(self._records[trial_id], done=True)
        self._local.pop(trial_id, None)

    async def find(self, trial_id: str) -> Case | None:
        """An unfinished trial, whoever opened it."""
        known = self._local.get(trial_id)
        return known if known is not None else (await self.unfinished()).get(trial_id)

    async def unfinished(self) -> dict[str, Case]:
        """All trials that are not done, oldest first, by id."""
        await self._refresh()
        cases, _ = self._gather(await self._scan())
        for trial_id, own in self._local.items():
            case = cases.setdefault(trial_id, own)
            if case.fresh is None and own.fresh is not None:  # too large to be kept
                cases[trial_id] = replace(case, fresh=own.fresh)
        return {trial_id: case for trial_id, case in cases.items() if not self._is_done(trial_id)}

    def opened_since(self, moment: float) -> int:
        """How many trials this process has opened since then and not finished."""
        return sum(1 for _ in takewhile(lambda case: case.opened >= moment, reversed(self._local.values())))

    def drop(self, trial_id: str) -> None:
        """Another process has finished this trial."""
        self._local.pop(trial_id, None)

    async def trim(self, now: float) -> None:
        """Forget the texts of what is done, and verdicts from long ago."""
        old = now - VERDICT_KEPT_SECONDS
        await self._refresh()
        items = await self._scan()
        needed = {str(_decode(item.data).get("id")) for item in items} | self._local.keys()
        if items:
            _, first = self._gather(items)
            await self._trim(LOG, items[0].position, min(first - 1, items[-1].position))
        self._records = {known: record for known, record in self._records.items() if record.at > old or known in needed}
        if self._shared is None:
            return
        over = 0
        for item in await self._shared.read_log(VERDICTS, after=0, limit=_PAGE):
            said = _decode(item.data)
            if said.get("at", 0) > old or str(said.get("id")) in needed:
                break
            over = item.position
        await self._trim(VERDICTS, 1, over)

    async def erase(self, trial_ids: Collection[str], mark: str) -> None:
        """Leave no text of these trials, nor of any that are done; ``mark`` is a text that was never used before."""
        for trial_id in trial_ids:
            self._local.pop(trial_id, None)
        if self._shared is None:
            return
        await self._refresh()
        items = await self._scan()
        kept = {}
        for item in items:
            said = _decode(item.data)
            if said.get("id") not in trial_ids and not self._is_done(str(said.get("id"))):
                kept[f"{said.get('id')}:{said.get('kind')}:{said.get('attempt')}:{mark}"] = item.data
        if items and len(kept) < len(items):
            for name, data in kept.items():  # one by one: together they may be more than a store takes at once
                await self._shared.append_log(LOG, {name: data})
            await self._shared.trim_log(LOG, up_to=items[-1].position)

    async def _trim(self, log: str, first: int, last: int) -> None:
        if self._shared is not None and last >= first:
            await self._shared.trim_log(log, up_to=last)

    def _is_done(self, trial_id: str) -> bool:
        return trial_id in self._records and self._records[trial_id].done

    async def _refresh(self) -> None:
        """Read what verdicts have come since."""
        if self._shared is None:
            return
        while page := await self._shared.read_log(VERDICTS, after=self._read_up_to, limit=_PAGE):
            for item in page:
                said = _decode(item.data)
                trial_id = str(said.get("id"))
                if said.get("kind") == "verdict":
                    record = Record(verdict=said["verdict"], how=said["how"], at=said["at"])
                    known = self._records.get(trial_id)
                    self._records[trial_id] = replace(record, done=known is not None and known.done)
                elif said.get("kind") == "done" and trial_id in self._records:
                    self._records[trial_id] = replace(self._records[trial_id], done=True)
            self._read_up_to = max(self._read_up_to, page[-1].position)

    async def _scan(self) -> Sequence[Logged]:
        items: list[Logged] = []
        while self._shared is not None and len(items) < _LARGEST_SCAN:
            page = await self._shared.read_log(LOG, after=items[-1].position if items else 0, limit=_PAGE)
            items += page
            if len(page) < _PAGE:
                break
        return items

    def _gather(self, items: Sequence[Logged]) -> tuple[dict[str, Case], int]:
        """The unfinished cases of these items, and the position of the first item that belongs to any of them."""
        cases: dict[str, Case] = {}
        seen: set[tuple[object, ...]] = set()
        first = items[-1].position + 1 if items else 0
        for item, said in _opened_first(items):
            trial_id = str(said.get("id"))
            if self._is_done(trial_id):
                continue
            if said.get("kind") == "open" and trial_id not in cases:
                case = _case(said)
                if case is None:
                    continue
                cases[trial_id] = case
            if trial_id in cases:
                first = min(first, item.position)
                kind = (trial_id, said.get("kind"), said.get("attempt"))
                cases[trial_id] = cases[trial_id] if kind in seen else _continued(cases[trial_id], said)
                seen.add(kind)
        return cases, first


def _opened_first(items: Sequence[Logged]) -> Iterator[tuple[Logged, Json]]:
    """In the order of the log, except that a trial's opening comes before all else: copies may stand behind."""
    read = [(item, _decode(item.data)) for item in items]
    yield from (pair for pair in read if pair[1].get("kind") == "open")
    yield from (pair for pair in read if pair[1].get("kind") != "open")


def _continued(case: Case, said: Json) -> Case:
    if said.get("kind") == "fresh" and case.fresh is None:
        return replace(case, fresh=_reply(said["reply"]))
    if said.get("kind") == "try":
        return replace(case, attempts=case.attempts + 1, touched=max(case.touched, float(said["at"])))
    return case


# As JSON, which keeps half a surrogate pair that a model has said.


def _encode(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _decode(data: bytes) -> Json:
    """What was written; nothing where it can't be read, as of a later release."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _fresh_item(case: Case) -> dict[str, bytes]:
    if case.fresh is None:
        return {}
    said = {"kind": "fresh", "id": case.trial.id, "reply": _reply_json(case.fresh)}
    return {f"{case.trial.id}:fresh": _encode(said)}


def _case_json(case: Case) -> Json:
    trial, scope = case.trial, case.key.scope
    entry = trial.candidate.entry
    question = trial.candidate.question
    return {
        "kind": "open",
        "id": trial.id,
        "at": case.opened,
        "namespace": trial.namespace,
        "design": trial.design,
        "score": trial.score,
        "served": trial.served,
        "similarity": trial.candidate.similarity,
        "p_correct": trial.candidate.p_correct,
        "entry": entry.id,
        "created": entry.created,
        "tags": entry.tags,
        "reply": _reply_json(entry.reply),
        "question": [question.digest.hex(), question.text],
        "digest": case.key.hex,
        "scope": [scope.content.hex(), scope.digest.hex(), scope.tenant, scope.user, scope.model, scope.embedder],
        "request": _request_json(case.request),
    }


def _case(said: Json) -> Case | None:
    """The case of an opening; None where it can't be read."""
    try:
        content, digest, tenant, user, model, embedder = said["scope"]
        scope = Scope(
            content=bytes.fromhex(content),
            digest=bytes.fromhex(digest),
            tenant=tenant,
            user=user,
            model=model,
            embedder=embedder,
        )
        entry = Entry(
            id=said["entry"],
            scope=scope,
            questions=(Question(digest=bytes.fromhex(said["question"][0]), text=said["question"][1]),),
            reply=_reply(said["reply"]),
            created=float(said["created"]),
            tags=tuple(said["tags"]),
        )
        score = float(said["score"])
        candidate = Candidate(entry=entry, similarity=said["similarity"], score=score, p_correct=said["p_correct"])
        trial = Trial(
            id=said["id"],
            namespace=said["namespace"],
            design=said["design"],
            score=score,
            candidate=candidate,
            served=said["served"],
        )
        key = Key(scope=scope, digest=bytes.fromhex(said["digest"]))
        return Case(trial=trial, request=_request(said["request"]), key=key, opened=said["at"], touched=said["at"])
    except (LookupError, TypeError, ValueError, InvalidRequest):
        return None


def _request_json(request: Request) -> Json:
    texts = {name: getattr(request, name) for name in _REQUEST_TEXTS}
    turns = [[turn.role, turn.text, *turn.parts] for turn in request.messages]
    return {**texts, "messages": turns, "tags": request.tags, "permissions": request.permissions}


_REQUEST_TEXTS = (
    *("model", "system", "tenant", "user", "tools", "tool_choice", "response_format", "sampling"),
    *("knowledge", "category", "bypass"),
)


def _request(said: Mapping[str, Any]) -> Request:
    turns = [Message(role=turn[0], text=turn[1], parts=tuple(turn[2:])) for turn in said["messages"]]
    named = {name: said.get(name, "") for name in _REQUEST_TEXTS}
    return Request(turns, tags=said["tags"], permissions=said.get("permissions", ()), **named)


def _reply_json(reply: Reply) -> Json:
    """What a judge sees of a reply, and a purge asks for."""
    return {
        "text": reply.text,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "tool_calls": reply.tool_calls,
        "sources": [source.uri if source.is_plain else astuple(source) for source in reply.sources],
    }


def _reply(said: Json) -> Reply:
    return Reply(
        text=said["text"],
        model=said["model"],
        finish_reason=said["finish_reason"],
        tool_calls=tuple(said["tool_calls"]),
        sources=tuple(Source(said) if isinstance(said, str) else Source(*said) for said in said["sources"] if said),
    )
