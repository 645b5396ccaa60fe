"""Edited documents through a whole ``RagPipeline``: what is served that is stale, and what is lost without need.

Each paragraph is an object of S3 (``s3://papers/<number>``), each question is asked and stored. Then every other paragraph
is edited so that one answer changes. The retrieval is an oracle (a question's own paragraph, and another one of the
same article), and so is the model (it says the answer that its paragraph gives today, and cites that paragraph): what is measured is the cache.

Arms: ``nothing`` (answers live until they expire), ``events`` (an event of S3 for each edit, while questions are being
asked; an answer has the sources that it cites), ``events, given`` (the same where it has all that the model was shown),
``gate`` (no event; ``EvidenceVerifier`` before each hit). Nothing runs here; ``evidence.py`` imports it.
"""

import asyncio
import random
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import evidence_edits as edits
from yamabiko.aws.events import handle
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.generators.passages import Passage
from yamabiko.rag.evidence import EvidenceVerifier
from yamabiko.rag.opening import PASSAGES_POLICY, open_pipeline
from yamabiko.rag.pipeline import Stages
from yamabiko.types import Reply, Source


@dataclass
class World:
    rows: list
    rng: random.Random
    texts: dict = field(default_factory=dict)
    uris: dict = field(default_factory=dict)
    now: dict = field(default_factory=dict)
    made: int = 0

    def __post_init__(self):
        for row in self.rows:
            if row.context not in self.uris:
                self.uris[row.context] = f"s3://papers/{len(self.uris)}.txt"
                self.texts[self.uris[row.context]] = row.context
            self.now[row.question] = row.answer
        self.by_question = {row.question: row for row in self.rows}
        self.titles = {}
        for row in self.rows:
            self.titles.setdefault(row.title, []).append(self.uris[row.context])

    async def retrieve(self, question):
        row = self.by_question[question]
        own = self.uris[row.context]
        others = [uri for uri in self.titles[row.title] if uri != own][:1]
        return tuple(Passage(text=self.texts[uri], source=Source(uri=uri)) for uri in (own, *others))

    async def __call__(self, request):
        self.made += 1
        row = self.by_question[request.messages[-1].text]
        said, own = self.now[row.question], self.uris[row.context]
        shown = sorted({own, *[uri for uri in self.titles[row.title] if uri != own][:1]})
        await asyncio.sleep(0)
        return Reply(text=f"{said} [{shown.index(own) + 1}]")

    async def stream(self, request):
        yield await self(request)

    def edit(self):
        """Every other paragraph says something else of one of its questions; the URIs of those."""
        changed = []
        for number, (context, uri) in enumerate(list(self.uris.items())):
            rows = [row for row in self.rows if row.context == context]
            row = self.rng.choice(rows)
            found = [text for name, text in edits.changing(row, self.rows, self.rng) if name == "replaced"]
            if number % 2 or not found or found[0] == context:
                continue
            self.texts[uri] = found[0]
            changed.append(uri)
            for other in rows:
                if other.answer not in found[0]:
                    self.now[other.question] = f"now {other.id}"
        return changed


def event(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "etag": f"new-{key}"}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}


async def one(rows, arm, embedder, seed):
    world = World(rows, random.Random(seed))
    gate = EvidenceVerifier if arm == "gate" else None
    policy = replace(PASSAGES_POLICY, ttl_seconds=1e-3) if arm == "gate" else PASSAGES_POLICY
    with tempfile.TemporaryDirectory() as folder:
        sources = "given" if arm == "events, given" else "cited"
        stages = Stages(retrieve=world.retrieve, model=world, base="papers", sources=sources)
        url = f"sqlite:///{folder}/cache.db"
        opening = open_pipeline(
            stages, url, passages_policy=replace(policy, semantic=False), embedder=embedder, gate=gate
        )
        async with opening as rag:
            for row in rows:
                await rag.answer(row.question)
            await rag.drain()
            before = dict(world.now)
            changed = set(world.edit())
            if arm.startswith("events"):
                busy = [rag.answer(row.question) for row in world.rng.sample(rows, min(200, len(rows)))]
                told = [handle(event(uri), rag) for uri in changed]
                await asyncio.gather(*busy, *told)
                await rag.drain()
            counts = dict.fromkeys(("changed", "stale", "untouched", "lost", "same_in_edited", "lost_in_edited"), 0)
            for row in rows:
                made = world.made
                reply = await rag.answer(row.question)
                again = world.made > made
                if world.now[row.question] != before[row.question]:
                    counts["changed"] += 1
                    counts["stale"] += reply.text.startswith(before[row.question] + " [")
                elif world.uris[row.context] in changed:
                    counts["same_in_edited"] += 1
                    counts["lost_in_edited"] += again
                else:
                    counts["untouched"] += 1
                    counts["lost"] += again
            await rag.drain()
            counts["edited"] = len(changed)
            return counts | {"report": rag.report().table()}


def section(data: Path, limit: int, seed: int) -> dict[str, object]:
    results = {}
    embedder = LocalEmbedder()
    print("arm               edited  changed  stale  untouched  lost   same in an edited paragraph  lost")
    for language in ("en", "ja"):
        seen = {}
        for row in edits.load(data, language):
            seen.setdefault(row.question, row)
        rows = list(seen.values())[:limit]
        for arm in ("nothing", "events", "events, given", "gate"):
            counts = asyncio.run(one(rows, arm, embedder, seed))
            results[f"{language}_{arm}"] = counts
            print(
                f"{language} {arm:14} {counts['edited']:6,} {counts['changed']:8,} {counts['stale']:6,}"
                f" {counts['untouched']:10,} {counts['lost']:5,} {counts['same_in_edited']:29,} {counts['lost_in_edited']:5,}"
            )
            if arm.startswith("events"):
                print(counts["report"])
    return results
