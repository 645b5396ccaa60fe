"""Edited documents through a whole ``RagPipeline``: what is served that is stale, and what is lost without need.

Each paragraph is an object of S3 (``s3://papers/<number>``), each question is asked and stored. Then every other paragraph
is edited so that one answer changes, and, where the arm goes on, the others in a second round. The retrieval is an oracle (a question's own paragraph, and another one of the
same article), and so is the model (it says the answer that its paragraph gives today, and cites that paragraph): what is measured is the cache.

Arms: ``nothing`` (answers live until they expire), ``gate`` (no event; ``EvidenceVerifier`` before each hit), and with
an event of S3 for each edit, while questions are being asked, ``traced``, ``cited``, ``given`` (``Stages.sources``).
``..., miscited``: the model names the other passage in each tenth answer, instead of the one that it took it from.
At most ``per_paragraph`` questions of a paragraph are asked. Nothing runs here; ``evidence.py`` imports it.
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

ARMS = ("nothing", "gate", "traced", "cited", "given", "traced, miscited", "cited, miscited")


@dataclass
class World:
    rows: list
    rng: random.Random
    texts: dict = field(default_factory=dict)
    uris: dict = field(default_factory=dict)
    now: dict = field(default_factory=dict)
    made: int = 0
    miscites: bool = False

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
        named = shown.index(own)
        if self.miscites and self.rows.index(row) % 10 == 0:
            named = len(shown) - 1 - named
        return Reply(text=f"{said} [{named + 1}]")

    async def stream(self, request):
        yield await self(request)

    def edit(self, half):
        """Every other paragraph says something else of one of its questions; the URIs of those. ``half``: 0 or 1."""
        changed = []
        for number, (context, uri) in enumerate(list(self.uris.items())):
            rows = [row for row in self.rows if row.context == context]
            row = self.rng.choice(rows)
            found = [text for name, text in edits.changing(row, self.rows, self.rng) if name == "replaced"]
            if number % 2 != half or not found or found[0] == context:
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


async def asked(rag, world, before, changed, counts):
    """Ask everything once more, and count what was stale or made anew without need."""
    for row in world.rows:
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


async def one(rows, arm, embedder, seed, rounds):
    sources, _, miscited = arm.partition(", ")
    world = World(rows, random.Random(seed), miscites=bool(miscited))
    gate = EvidenceVerifier if arm == "gate" else None
    policy = replace(PASSAGES_POLICY, ttl_seconds=1e-3) if arm == "gate" else PASSAGES_POLICY
    with tempfile.TemporaryDirectory() as folder:
        told = sources not in ("nothing", "gate")
        stages = Stages(retrieve=world.retrieve, model=world, base="papers", sources=sources if told else "cited")
        url = f"sqlite:///{folder}/cache.db"
        opening = open_pipeline(
            stages, url, passages_policy=replace(policy, semantic=False), embedder=embedder, gate=gate
        )
        counts = dict.fromkeys(
            ("edited", "changed", "stale", "untouched", "lost", "same_in_edited", "lost_in_edited"), 0
        )
        async with opening as rag:
            for row in rows:
                await rag.answer(row.question)
            await rag.drain()
            for half in range(rounds if told else 1):
                before = dict(world.now)
                changed = set(world.edit(half))
                counts["edited"] += len(changed)
                if told:
                    busy = [rag.answer(row.question) for row in world.rng.sample(rows, min(200, len(rows)))]
                    events = [handle(event(uri), rag) for uri in changed]
                    await asyncio.gather(*busy, *events)
                    await rag.drain()
                await asked(rag, world, before, changed, counts)
            return counts | {"report": rag.report().table()}


def section(data: Path, per_paragraph: int, seed: int) -> dict[str, object]:
    results = {"questions_per_paragraph": per_paragraph}
    embedder = LocalEmbedder()
    print("arm                  edited  changed  stale  untouched  lost   same in an edited paragraph  lost")
    for language in ("en", "ja"):
        seen, rows = {}, []
        for row in {row.question: row for row in reversed(edits.load(data, language))}.values():
            seen[row.context] = seen.get(row.context, 0) + 1
            if seen[row.context] <= per_paragraph:
                rows.append(row)
        for arm in ARMS:
            counts = asyncio.run(one(rows, arm, embedder, seed, rounds=2))
            results[f"{language}_{arm}"] = counts
            print(
                f"{language} {arm:17} {counts['edited']:6,} {counts['changed']:8,} {counts['stale']:6,}"
                f" {counts['untouched']:10,} {counts['lost']:5,} {counts['same_in_edited']:29,}"
                f" {counts['lost_in_edited']:5,}",
                flush=True,
            )
    return results
