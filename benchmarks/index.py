"""What a search costs, what it reads, and whether it decides as brute force does.

    python benchmarks/index.py --data DIRECTORY [--cache DIRECTORY] [--million]

``--data`` holds sets of questions as gzipped JSON lines (``a``, ``b``, ``text``); 100,000 distinct English texts
are embedded once (some ten minutes of CPU) and kept in ``--cache``. Of the 5,000 queries half are the other side of a
stored question's paraphrase pair and half were never stored. Synthetic vectors: a mixture of Gaussians in 40 dimensions
plus noise, with queries at cosines of 0.78 to 0.995 from a stored vector, so that many sit right at the threshold.
Times are CPU microseconds of the searching thread. Run it with OPENBLAS_NUM_THREADS=1.
"""

# ruff: noqa: SLF001  (it measures the parts, not only the whole)

import argparse
import asyncio
import gzip
import json
import math
import random
import tempfile
import time
from pathlib import Path

import numpy as np

from machine import percentiles, write
from yamabiko.stores import signcodes, vectors
from yamabiko.stores.signcodes import BITS, hamming_bound, widen
from yamabiko.stores.vectors import VectorIndex, cosines

THRESHOLDS = (0.80, 0.85, 0.90, 0.95)
LIMIT = 5
STORED, QUERIES = 100_000, 5_000
PAIRS = "qqp_dev"
OTHERS = (
    "checklist_qqp_dev", "nqopen_dev_stream_dev", "clinc150_stream_dev", "advising_pairs_dev", "disflqa_pairs_dev",
    "bitextcs_pairs_dev", "hint3_stream_dev", "snli_nli_dev", "tatoeba_en_pairs_dev",
)  # fmt: skip


def read(data: Path, name: str) -> list[dict]:
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def texts(data: Path) -> tuple[list[str], list[str]]:
    """What is stored, and the queries; disjoint."""
    chance = random.Random(7)
    pairs = read(data, PAIRS)
    chance.shuffle(pairs)
    stored, queries = {}, {}
    for pair in pairs:
        a, b = pair["a"], pair["b"]
        if pair["label"] == 1 and len(queries) < QUERIES // 2 and a not in queries and b not in stored:
            stored[a], queries[b] = None, None
    rest = [text for pair in pairs for text in (pair["a"], pair["b"]) if text not in queries and text not in stored]
    rest = list(dict.fromkeys(rest))
    chance.shuffle(rest)
    unseen = QUERIES - len(queries)
    queries.update(dict.fromkeys(rest[:unseen]))
    stored.update(dict.fromkeys(rest[unseen:]))
    for name in OTHERS:
        for row in read(data, name):
            new = (row[field] for field in ("a", "b", "text") if row.get(field))
            stored.update(dict.fromkeys(text for text in new if len(text) < 400 and text not in queries))
    kept = list(stored)[:STORED]
    chance.shuffle(kept)
    return kept, list(queries)


def embed(wanted: list[str]) -> np.ndarray:
    from yamabiko.embedders.local import LocalEmbedder

    async def run() -> list:
        embedder = LocalEmbedder(only="minilm")
        order = sorted(wanted, key=len)  # batches of like lengths
        made = [vector for at in range(0, len(order), 64) for vector in await embedder.embed(order[at : at + 64])]
        await embedder.close()
        return [vector for _, vector in sorted(zip(order, made, strict=True), key=lambda pair: pair[0])]

    return np.stack([vector for vector in asyncio.run(run()) if vector is not None])


def real(data: Path | None, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of texts (100,000, 384) and of queries (5,000, 384), float32."""
    paths = cache / "real_minilm_100k.npy", cache / "real_minilm_queries_5k.npy"
    if not all(path.exists() for path in paths):
        if data is None:
            raise SystemExit("--data is needed once, to embed the texts")
        cache.mkdir(parents=True, exist_ok=True)
        for path, part in zip(paths, texts(data), strict=True):
            shuffled = embed(part)
            np.save(path, np.random.default_rng(1).permutation(shuffled))
    return np.load(paths[0]), np.load(paths[1])


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def mixture(count: int, queries: int, dim: int = 384) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic vectors (float16) and queries (float32) close to the thresholds."""
    chance = np.random.default_rng(3)
    basis = chance.standard_normal((40, dim), dtype=np.float32) / math.sqrt(40)
    centres = chance.standard_normal((max(10, count // 50), 40), dtype=np.float32)
    rows = np.empty((count, dim), dtype=np.float16)
    for start in range(0, count, 50_000):
        some = min(50_000, count - start)
        latent = centres[chance.integers(0, len(centres), some)]
        latent = latent + 0.5 * chance.standard_normal((some, 40), dtype=np.float32)
        rows[start : start + some] = unit(latent @ basis + 0.25 * chance.standard_normal((some, dim), dtype=np.float32))
    base = unit(rows[chance.integers(0, count, queries)].astype(np.float32))
    cosine = chance.uniform(0.78, 0.995, (queries, 1))
    away = chance.standard_normal((queries, dim))
    away = unit(away - (away * base).sum(axis=1, keepdims=True) * base)
    return rows, unit(cosine * base + np.sqrt(1 - cosine**2) * away)


def cone(rows: np.ndarray) -> np.ndarray:
    """The same vectors as an embedder with a common direction would give: average cosine of a pair 0.75."""
    common = unit(np.random.default_rng(0).standard_normal(rows.shape[1]))
    return unit(0.5 * rows + math.sqrt(0.75) * common)


def timed(index: VectorIndex, queries: np.ndarray, threshold: float) -> list[float]:
    for query in queries[:10]:
        index.search(query, limit=LIMIT, min_similarity=threshold)
    taken = []
    for query in queries:
        started = time.thread_time_ns()
        index.search(query, limit=LIMIT, min_similarity=threshold)
        taken.append((time.thread_time_ns() - started) / 1e3)
    return taken


def least_cosines(index: VectorIndex, query: np.ndarray, threshold: float) -> dict[str, float]:
    """Seen from the centre, by what is assumed of a vector's distance from it (see vectors._centred_cosine)."""
    a = float(index._snapshot.coder.encode(query[np.newaxis])[1][0])
    nearest = min(chunk.nearest for chunk in index._snapshot.chunks)
    return {
        "nearest": vectors._centred_cosine(threshold, a, nearest),
        "tangent": vectors._centred_cosine(threshold, a, 0.0),
        "typical": vectors._centred_cosine(threshold, a, a),
    }


def candidates(index: VectorIndex, queries: np.ndarray, threshold: float) -> dict[str, dict[str, float]]:
    """How many rows lie within the bound, by the three assumptions; "nearest" is what a search uses."""
    counts: dict[str, list[float]] = {"nearest": [], "tangent": [], "typical": []}
    snapshot = index._snapshot
    for query in queries:
        code = snapshot.coder.encode(query[np.newaxis])[0][0]
        found = vectors._scan(snapshot, code, -1.0, signcodes.NumpySweep(code, signcodes.WORDS, vectors.CHUNK_ROWS))[1]
        for name, cosine in least_cosines(index, query, threshold).items():
            counts[name].append(float(np.count_nonzero(found <= hamming_bound(BITS, cosine))))
    return {name: percentiles(values, 0) for name, values in counts.items()}


def measure(name: str, rows: np.ndarray, queries: np.ndarray, accelerator: str) -> dict:
    started = time.process_time()
    index = VectorIndex(rows.shape[1], accelerator=accelerator)
    for at in range(0, len(rows), 10_000):
        index.add(np.arange(at, min(at + 10_000, len(rows))), rows[at : at + 10_000])
    build = time.process_time() - started
    result = {
        "vectors": name, "count": len(rows), "dim": rows.shape[1], "accelerator": accelerator,
        "build_cpu_seconds": round(build, 2), "bytes_per_vector": round(index.nbytes / len(rows)), "thresholds": {},
    }  # fmt: skip
    print(f"\n{name} {len(rows):,} {accelerator}: build {build:.2f} s, {result['bytes_per_vector']} bytes per vector")
    for threshold in THRESHOLDS:
        taken = percentiles(timed(index, queries, threshold))
        row = {"cpu_microseconds": taken, "candidates": candidates(index, queries[:50], threshold)}
        result["thresholds"][threshold] = row
        shown = "  ".join(f"{key} {value:8.1f}" for key, value in taken.items())
        many = {key: (value["p50"], value["p99"]) for key, value in row["candidates"].items()}
        print(f"  {threshold:.2f}: {shown} us; candidates p50, p99 {many}")
    if accelerator == "numpy":
        result["words"] = words_per_sweep(index, queries)
    return result


def words_per_sweep(index: VectorIndex, queries: np.ndarray) -> dict:
    """How far unrelated rows must lie beyond the bound for a sweep to read so few words: the total cost."""
    kept, costs = signcodes._UNRELATED_SIGMAS, {}
    for sigmas in (2.5, 3.3, 4.0, 99.0):
        signcodes._UNRELATED_SIGMAS = sigmas
        costs[sigmas] = {t: percentiles(timed(index, queries[:150], t))["p50"] for t in THRESHOLDS}
    signcodes._UNRELATED_SIGMAS = kept
    print("  sigmas to unrelated rows -> p50 by threshold", costs)
    return costs


def decisions(rows: np.ndarray, queries: np.ndarray, accelerator: str) -> dict:
    """Hit or miss, and the best answer, against brute force over the stored float16 and over the float32 originals."""
    index = VectorIndex(rows.shape[1], accelerator=accelerator)
    halves = rows.astype(np.float16)
    index.add(np.arange(len(rows)), halves)
    stored, originals = best_of(widen(halves), queries), best_of(rows, queries)
    table = {}
    for threshold in THRESHOLDS:
        hits = same = same_original = 0
        for query, true, original in zip(queries, stored, originals, strict=True):
            found, similarities = index.search(query, limit=1, min_similarity=threshold)
            hits += len(found)
            same += (float(similarities[0]) if len(found) else None) == (true if true >= threshold else None)
            same_original += bool(len(found)) == (original >= threshold)
        table[threshold] = {"queries": len(queries), "hits": hits, "same": same, "same_as_float32": same_original}
        print(f"  decisions at {threshold:.2f} ({accelerator}): {table[threshold]}")
    return table


def best_of(rows: np.ndarray, queries: np.ndarray) -> list[float]:
    """The highest exact cosine of each query; the matrix product chooses eight to look at."""
    best = []
    for at in range(0, len(queries), 500):
        products = queries[at : at + 500] @ rows.T
        top = np.argpartition(products, -8, axis=1)[:, -8:]
        best += [float(cosines(rows[t], q).max()) for t, q in zip(top, queries[at : at + 500], strict=True)]
    return best


def crossover(rows: np.ndarray, queries: np.ndarray) -> dict:
    """The product with all vectors against codes, at 0.85."""
    kept, table = vectors.EXACT_COMPONENTS, {}
    for count in (1_000, 2_000, 4_000, 5_000, 6_000, 8_000, 12_000):
        row = {}
        for way, components in (("product", 2**40), ("codes", (count - 1) * rows.shape[1])):
            vectors.EXACT_COMPONENTS = components
            index = VectorIndex(rows.shape[1])
            index.add(np.arange(count), rows[:count])
            row[way] = percentiles(timed(index, queries[:300], 0.85))["p50"]
        table[count] = row
        print(f"  dim {rows.shape[1]}, {count:,} vectors: {row}")
    vectors.EXACT_COMPONENTS = kept
    return table


def writes(rows: np.ndarray) -> dict:
    """One addition, one removal (CPU us), and float16 to float32 both ways for 512 rows."""
    index = VectorIndex(rows.shape[1])
    index.add(np.arange(len(rows)), rows)
    add, remove = [], []
    for number in range(300):
        started = time.thread_time_ns()
        index.remove(np.array([number]))
        removed = time.thread_time_ns()
        index.add(np.array([len(rows) + number]), rows[number : number + 1])
        add.append((time.thread_time_ns() - removed) / 1e3)
        remove.append((removed - started) / 1e3)
    result = {"add": percentiles(add), "remove": percentiles(remove)}
    for name, convert in (("widen", widen), ("astype", lambda part: part.astype(np.float32))):
        taken = []
        for _ in range(50):
            started = time.thread_time_ns()
            convert(rows[:512])
            taken.append((time.thread_time_ns() - started) / 1e3)
        result[name] = percentiles(taken)
    print(f"\n  writes: {result}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "yamabiko-bench")
    parser.add_argument("--accelerator", action="append", choices=["numpy", "faiss"])
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--million", action="store_true", help="also a million synthetic vectors (3 GB of memory)")
    options = parser.parse_args()
    rows, queries = real(options.data, options.cache)
    some = queries[np.random.default_rng(2).permutation(len(queries))[: options.queries]]
    results: dict[str, object] = {"searches": [], "decisions": {}}
    for accelerator in options.accelerator or ["numpy", "faiss"]:
        sets = [("real", rows[:n].astype(np.float16), some) for n in (10_000, STORED)]
        sets += [("cone", cone(rows).astype(np.float16), cone(some))]
        sizes = (10_000, 100_000, 1_000_000) if options.million else (10_000, 100_000)
        results["searches"] += [measure(*one, accelerator) for one in sets]
        results["searches"] += [measure("mixture", *mixture(n, options.queries), accelerator) for n in sizes]
        results["decisions"][accelerator] = decisions(rows, queries, accelerator)
    results["crossover"] = {
        384: crossover(rows.astype(np.float16), some),
        1024: crossover(*mixture(12_000, 300, 1_024)),
    }
    results["writes"] = writes(rows.astype(np.float16))
    print(write("index", results))


if __name__ == "__main__":
    main()
