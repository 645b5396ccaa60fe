"""Draw the question samples that ``yamabiko demo`` asks, and write them into the package.

Reads the uniform JSON lines (gzip) of four public data sets from a folder:

* ``xquad_en_rag_dev``     XQuAD, English: {id, title, text, context, answer, answer_id}
* ``disflqa_pairs_dev``    Disfl-QA: {a, b, label}; b is the spoken, self-corrected form of a where label is 1
* ``jsquad_valid_rag_dev`` JSQuAD, Japanese: as XQuAD
* ``jsquad_pairs_dev``     questions on one JSQuAD paragraph: {a, b, label}; same answer and similar wording where 1

An intent is one thing to know: a question, its paraphrases, its answer. About half of the sampled intents are never
asked in other words, and each paragraph gives several intents: neighbours with another answer are what makes a wrong
hit possible. The same seed always writes the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src" / "yamabiko" / "cli" / "demo_data"
REPEATED = 3  # at most so many intents with paraphrases from one paragraph
LIMIT_BYTES = 400_000


@dataclass(frozen=True, kw_only=True)
class Intent:
    id: str
    title: str
    text: str
    context: str
    answer: str
    answer_id: str
    paraphrases: tuple[str, ...]


def read(folder: Path, name: str) -> list[dict]:
    path = folder / f"{name}.jsonl.gz"
    if not path.exists():
        raise SystemExit(f"{path} is missing: give the folder that holds {name}.jsonl.gz with --data")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def folded(text: str) -> str:
    """What makes two texts the same question or the same answer here: no case, no spaces, no closing marks."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(text.split()).rstrip("?.!。、")


def positives(pairs: Iterable[dict]) -> dict[str, list[str]]:
    """Each question with those that may get its answer, both ways round."""
    near: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        if pair["label"] == 1:
            near[folded(pair["a"])].append(pair["b"])
            near[folded(pair["b"])].append(pair["a"])
    return near


def intents(rows: list[dict], pairs: list[dict]) -> list[Intent]:
    """One intent per connected group of questions; a text that would belong to two intents belongs to the first."""
    near = positives(pairs)
    taken: set[str] = set()
    found = []
    for row in rows:
        if folded(row["text"]) in taken:
            continue
        taken.add(folded(row["text"]))
        group, at = [row["text"]], 0
        while at < len(group):
            for other in near.get(folded(group[at]), ()):
                if folded(other) not in taken:
                    taken.add(folded(other))
                    group.append(other)
            at += 1
        title = row["title"].replace("_", " ")
        context = row["context"].split(" [SEP] ", 1)[-1]
        found.append(
            Intent(
                id=row["id"],
                title=title,
                text=row["text"].strip(),
                context=context,
                answer=row["answer"],
                answer_id=row["answer_id"],
                paraphrases=tuple(text.strip() for text in group[1:]),
            )
        )
    return found


def sample(everything: list[Intent], *, count: int, plain: int, seed: int) -> list[Intent]:
    """``count`` intents from paragraphs that offer both kinds; at most ``plain`` a paragraph have no paraphrases."""
    paragraphs: dict[str, list[Intent]] = defaultdict(list)
    for intent in everything:
        paragraphs[intent.context].append(intent)
    order = sorted(paragraphs)
    random.Random(seed).shuffle(order)
    chosen: list[Intent] = []
    spare: list[Intent] = []
    for context in order:
        asked_again = [intent for intent in paragraphs[context] if intent.paraphrases]
        asked_once = [intent for intent in paragraphs[context] if not intent.paraphrases]
        if not asked_again or not asked_once or count - len(chosen) < 2:
            continue
        members = [asked_again[0], *asked_once[:plain], *asked_again[1:REPEATED]][: count - len(chosen)]
        chosen += members
        spare += asked_once[plain:]
    chosen += spare[: count - len(chosen)]
    if len(chosen) < count:
        raise SystemExit(f"the data hold only {len(chosen)} fitting intents: take fewer with --count")
    position = {intent.id: at for at, intent in enumerate(everything)}
    return sorted(chosen, key=lambda intent: position[intent.id])


def write(language: str, chosen: list[Intent]) -> None:
    """Two files: paragraphs once, questions that name theirs."""
    names: dict[str, str] = {}
    with (
        (TARGET / f"questions.{language}.jsonl").open("w", encoding="utf-8", newline="\n") as questions,
        (TARGET / f"contexts.{language}.jsonl").open("w", encoding="utf-8", newline="\n") as contexts,
    ):
        for intent in chosen:
            if intent.context not in names:
                names[intent.context] = f"{language}-{len(names):03d}"
                paragraph = {"id": names[intent.context], "title": intent.title, "text": intent.context}
                contexts.write(json.dumps(paragraph, ensure_ascii=False) + "\n")
            question = {
                "id": intent.id,
                "title": intent.title,
                "text": intent.text,
                "context": names[intent.context],
                "answer": intent.answer,
                "answer_id": intent.answer_id,
                "paraphrases": list(intent.paraphrases),
            }
            questions.write(json.dumps(question, ensure_ascii=False) + "\n")
    spoken = sum(bool(intent.paraphrases) for intent in chosen)
    others = sum(len(intent.paraphrases) for intent in chosen)
    print(f"{language:8} {len(chosen):8} {spoken:17} {others:12} {len(names):11}")


def main() -> None:
    arguments = argparse.ArgumentParser(description="draw the demo's question samples")
    arguments.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    arguments.add_argument("--count", type=int, default=150, help="intents per language")
    arguments.add_argument("--seed", type=int, default=20261124)
    given = arguments.parse_args()
    print(f"{'language':8} {'intents':>8} {'with paraphrases':>17} {'paraphrases':>12} {'paragraphs':>11}")
    for language, rows, pairs, plain in (
        ("en", "xquad_en_rag_dev", "disflqa_pairs_dev", 3),
        ("ja", "jsquad_valid_rag_dev", "jsquad_pairs_dev", 1),  # paragraphs have fewer repeated questions here
    ):
        everything = intents(read(given.data, rows), read(given.data, pairs))
        write(language, sample(everything, count=given.count, plain=plain, seed=given.seed))
    size = sum(path.stat().st_size for path in TARGET.iterdir() if path.is_file())
    print(f"{size:,} bytes in {TARGET.relative_to(ROOT)}")
    if size > LIMIT_BYTES:
        raise SystemExit(f"more than {LIMIT_BYTES:,} bytes: take fewer with --count")


if __name__ == "__main__":
    main()
