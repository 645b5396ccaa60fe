"""What the verifier adds to a look-up: CPU time and latency with three candidates, with it and without, in one run.

    python benchmarks/verifier_path.py
    python benchmarks/verifier_path.py --path FOLDER   # a verifier of your own, with its manifest

A cache in memory holds four wordings each of ``--topics`` questions of about 15 words. A fifth wording is looked up, so
that three candidates are asked about. Beside it: the verifier alone on one pair and on three, and what loading takes.
The figures are the process's CPU time per call (one thread each for embedder and verifier) and wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import replace
from pathlib import Path

import machine
from yamabiko import Hit, Policy, Reply, Request, open_cache
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.ports import Mix
from yamabiko.settings import Settings, VerifierSettings
from yamabiko.types import Candidate, Controls, Entry, Question, Scope
from yamabiko.verifiers.cross_encoder import CrossEncoder

THINGS = ["invoice", "mobile app", "company card", "delivery", "password", "subscription", "warranty", "team account"]
PLACES = ["Berlin", "Osaka", "Lisbon", "Toronto", "Nairobi", "Lima", "Oslo", "Hanoi", "Quito", "Dublin"]
WORDINGS = [
    "How can I change the address of my {thing} when I have moved to {place} this year?",
    "How do I change the address of my {thing} after I have moved to {place} this year?",
    "What do I do to change my {thing}'s address when I have moved to {place} this year?",
    "In which way can I change the address of my {thing} when I moved to {place} this year?",
    "How could I change the address of my {thing} now that I have moved to {place} this year?",
]
JAPANESE_THINGS = ["請求書", "アプリ", "法人カード", "配送", "パスワード", "定期購入", "保証", "共有アカウント"]
JAPANESE_PLACES = [
    "ベルリン",
    "大阪",
    "リスボン",
    "トロント",
    "ナイロビ",
    "リマ",
    "オスロ",
    "ハノイ",
    "キト",
    "ダブリン",
]
JAPANESE = [
    "今年{place}に引っ越した場合、{thing}の住所はどうすれば変更できますか",
    "今年{place}に引っ越したので、{thing}の住所をどうやって変更できますか",
    "今年{place}に引っ越したとき、{thing}の住所を変更する方法を教えてください",
    "{place}に今年引っ越したのですが、{thing}の住所はどのように変更しますか",
    "今年{place}へ引っ越しました。{thing}の住所を変えるにはどうすればよいですか",
]
LANGUAGES = {"en": (WORDINGS, THINGS, PLACES), "ja": (JAPANESE, JAPANESE_THINGS, JAPANESE_PLACES)}


def questions(language: str, topics: int) -> list[list[str]]:
    wordings, things, places = LANGUAGES[language]
    pairs = [(thing, place) for place in places for thing in things][:topics]
    return [[wording.format(thing=thing, place=place) for wording in wordings] for thing, place in pairs]


async def per_look_up(embedder: LocalEmbedder, verifier: object | None, asked: list[list[str]], rounds: int) -> dict:
    policy = Policy(max_error_rate=0.05, candidates=3)
    settings = Settings(verifier=VerifierSettings(kind="off"))
    async with open_cache("memory://", policy=policy, embedder=embedder, verifier=verifier, settings=settings) as cache:
        for topic in asked:
            for text in topic[:4]:
                miss = await cache.lookup(Request(text), controls=Controls(semantic=False))
                await cache.remember(miss, Reply(text="Open the settings."))
        await cache.drain()
        walls, hits, said = [], 0, 0
        for topic in asked[:5]:  # loads what is lazy
            await cache.lookup(Request(topic[4]))
        cpu = time.process_time()
        for _ in range(rounds):
            for topic in asked:
                started = time.perf_counter()
                outcome = await cache.lookup(Request(topic[4]))
                walls.append((time.perf_counter() - started) * 1e3)
                hits += isinstance(outcome, Hit)
                said += any("the verifier" in reason for reason in outcome.reasons)
        cpu = (time.process_time() - cpu) / len(walls) * 1e3
    return {
        "cpu_ms": round(cpu, 2),
        "wall_ms": machine.percentiles(walls),
        "hits": hits,
        "asked": said,
        "n": len(walls),
    }


def candidate(text: str) -> Candidate:
    scope = Scope(content=bytes(32), digest=bytes(32), tenant="", user="", model="", embedder="")
    entry = Entry(
        id=text, scope=scope, questions=(Question(digest=bytes(32), text=text),), reply=Reply(text="so"), created=0.0
    )
    return Candidate(entry=entry, similarity=0.9)


async def alone(verifier: CrossEncoder, asked: list[list[str]], count: int, rounds: int) -> dict:
    walls, cpu = [], time.process_time()
    for _ in range(rounds):
        for topic in asked:
            started = time.perf_counter()
            await verifier.log_odds(Request(topic[4]), [candidate(text) for text in topic[:count]])
            walls.append((time.perf_counter() - started) * 1e3)
    return {"cpu_ms": round((time.process_time() - cpu) / len(walls) * 1e3, 2), "wall_ms": machine.percentiles(walls)}


async def embedded(embedder: LocalEmbedder, asked: list[list[str]], rounds: int) -> dict:
    """For comparison: what step 4 takes for the same texts."""
    walls, cpu = [], time.process_time()
    for topic in asked * rounds:
        started = time.perf_counter()
        await embedder.embed([topic[4]])
        walls.append((time.perf_counter() - started) * 1e3)
    return {"cpu_ms": round((time.process_time() - cpu) / len(walls) * 1e3, 2), "wall_ms": machine.percentiles(walls)}


async def measured(path: Path | None, topics: int, rounds: int) -> dict:
    results: dict = {}
    embedder = LocalEmbedder()
    await embedder.load()
    verifier = CrossEncoder(embedder, path=path, timeout_seconds=10)
    started, cpu = time.perf_counter(), time.process_time()
    await verifier.load()
    results["load"] = {
        "wall_ms": round((time.perf_counter() - started) * 1e3, 1),
        "cpu_ms": round((time.process_time() - cpu) * 1e3, 1),
    }
    for language in LANGUAGES:
        asked = questions(language, topics)
        mix = verifier.mix_for(embedder.model_for(asked[0][0]))
        if mix is None:
            continue
        results[language] = {
            "verifier": mix.name,
            "words": statistics.median(len(text.split()) for topic in asked for text in topic),
            "embedding": await embedded(embedder, asked, rounds),
            "one_pair": await alone(verifier, asked, 1, rounds),
            "three_pairs": await alone(verifier, asked, 3, rounds),
            "look_up_without": await per_look_up(Lent(embedder), None, asked, rounds),
            "look_up_with": await per_look_up(Lent(embedder), Asked(verifier), asked, rounds),
        }
    await verifier.close()
    await embedder.close()
    return results


class Asked:
    """The verifier as if all scores were in doubt and its own served: each look-up asks about three candidates."""

    def __init__(self, verifier: CrossEncoder) -> None:
        self.verifier, self.log_odds, self.same = verifier, verifier.log_odds, verifier.same

    def mix_for(self, embedder: str, /) -> Mix | None:
        mix = self.verifier.mix_for(embedder)
        return None if mix is None else replace(mix, low=0.0, high=1.0, rows=((0.5, 100_000, 0),))


class Lent:
    """The embedder, which stays open when a cache that has it closes."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        self.id, self.dim = embedder.id, embedder.dim
        self.model_for, self.embed = embedder.model_for, embedder.embed

    async def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="folder of a verifier; without it, the one in the package")
    parser.add_argument("--topics", type=int, default=60, help="questions, at most 80")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="verifier_path", help="of the file of results")
    options = parser.parse_args()
    results = asyncio.run(measured(options.path, options.topics, options.rounds))
    print(f"loading: {results['load']['wall_ms']} ms")
    for language in [name for name in results if name != "load"]:
        print(f"\n{language}: {results[language]['verifier']}")
        for name, row in results[language].items():
            if isinstance(row, dict):
                extra = f"  hits {row['hits']}, asked {row['asked']} of {row['n']}" if "hits" in row else ""
                print(f"  {name:16} CPU {row['cpu_ms']:6.2f} ms   wall {row['wall_ms']}{extra}")
    machine.write(options.name, results)


if __name__ == "__main__":
    main()
