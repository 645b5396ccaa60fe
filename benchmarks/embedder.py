"""What one embedding costs: CPU per text by length, batches, threads, and how far one exchanged word turns a vector.

    python benchmarks/embedder.py --data DIRECTORY

Texts: contexts of XQuAD (English) and JSQuAD (Japanese), cut to a number of pieces.
"""

import argparse
import asyncio
import gzip
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np

from machine import describe
from yamabiko.embedders import onnx
from yamabiko.embedders.local import LocalEmbedder, minilm, use_m3

RESULTS = Path(__file__).parent / "results"
LENGTHS = (12, 40, 220)


def contexts(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return sorted({json.loads(line)["context"] for line in file})


def rows_of_pieces(model, texts, separator: str, rng, *, length: int, count: int) -> list[str]:
    """Texts of ``length`` pieces: consecutive words or characters of the contexts, cut by the model's own tokenizer."""
    units = separator.join(texts).split(" ") if separator == " " else list("".join(texts))
    found = []
    while len(found) < count:
        at = int(rng.integers(0, len(units) - length * 3))
        taken = 1
        while model.pieces(separator.join(units[at : at + taken])) and taken < length * 3:
            pieces = model.pieces(separator.join(units[at : at + taken]))
            if len(pieces) >= length:
                found.append(separator.join(units[at : at + taken]))
                break
            taken += max(1, (length - len(pieces)) // 2)
    return found


def single(model, texts: list[str]) -> dict[str, float]:
    model.embed(texts[:3])
    cpu, wall = [], []
    for text in texts:
        started, started_wall = time.process_time(), time.perf_counter()
        model.embed([text])
        cpu.append(time.process_time() - started)
        wall.append(time.perf_counter() - started_wall)
    return {"cpu_ms": statistics.median(cpu) * 1e3, "wall_ms": statistics.median(wall) * 1e3}


def batch_rate(model, texts: list[str]) -> float:
    started = time.process_time()
    model.embed(texts)
    return len(texts) / (time.process_time() - started)


def sensitivity(model, texts, separator: str, rng) -> dict[int, float]:
    """Median of 1 - cosine between a text and the same with one word (or character) replaced, by length in pieces."""
    found = {}
    units = separator.join(texts).split(" ") if separator == " " else list("".join(texts))
    for length in (8, 16, 32, 64, 128, 200, 250):
        turns = []
        for text in rows_of_pieces(model, texts, separator, rng, length=length, count=30):
            words = text.split(" ") if separator == " " else list(text)
            words[int(rng.integers(0, len(words)))] = units[int(rng.integers(0, len(units)))]
            a, b = model.embed([text, separator.join(words)])
            if a is not None and b is not None:
                turns.append(1 - float(a @ b))
        found[length] = round(statistics.median(turns), 5)
    return found


def through_the_port(text: str) -> float:
    """What the thread and the event loop add: CPU ms of one call from a coroutine."""

    async def run() -> float:
        async with LocalEmbedder() as embedder:
            await embedder.embed([text])
            started = time.process_time()
            for _ in range(50):
                await embedder.embed([text])
            return (time.process_time() - started) * 20

    return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with the two RAG files")
    options = parser.parse_args()
    corpora = {
        "minilm-l6-v2-int8": (contexts(options.data / "xquad_en_rag_dev.jsonl.gz"), " ", minilm),
        "use-m3-384": (contexts(options.data / "jsquad_valid_rag_dev.jsonl.gz")[:600], "", use_m3),
    }
    result: dict[str, object] = {"machine": describe(), "models": {}}
    for name, (texts, separator, make) in corpora.items():
        rows: dict[str, object] = {}
        for threads in (1, 2):
            model = make(threads=threads)
            started = time.process_time()
            model.load()
            rows.setdefault("load_cpu_seconds", time.process_time() - started)
            rng = np.random.default_rng(0)
            for length in LENGTHS:
                sample = rows_of_pieces(model, texts, separator, rng, length=length, count=40)
                rows[f"{length} pieces, {threads} threads"] = single(model, sample)
                print(name, length, threads, rows[f"{length} pieces, {threads} threads"])
            sample = rows_of_pieces(model, texts, separator, rng, length=20, count=128)
            if threads == 1:
                rows["port_cpu_ms_20"] = through_the_port(sample[0])
                rows["sensitivity"] = sensitivity(model, texts, separator, rng)
                print(name, "1 - cosine for one exchanged word:", rows["sensitivity"])
            for cells in (64, 256, 512, 1024, 4096) if make is minilm else (512,):
                onnx.BATCH_PIECES = cells
                rows[f"batch of {cells} pieces, {threads} threads: texts/s"] = batch_rate(model, sample)
                print(
                    name,
                    threads,
                    "threads, batch of",
                    cells,
                    "pieces:",
                    round(batch_rate(model, sample)),
                    "texts per CPU second",
                )
        result["models"][name] = rows
    result["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embedder.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
