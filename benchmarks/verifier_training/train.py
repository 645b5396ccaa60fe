"""The training loop: mixed batches of similar lengths, AdamW, both orders, two losses."""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from verifier_training.model import CrossEncoder
from verifier_training.rows import Row

Encode = Callable[[str], list[int]]

UNKNOWN = -1.0
SPECIAL_BERT = (101, 102, 102, 0)
"""First, between, last and padding piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``window``: pieces of a pair at most. ``pieces``: of one batch, padding included.

    The rate rises for ``warmup`` steps, stays, and from ``cool_from`` on falls to nothing within ``cooling`` of the steps
    before. Where ``cool_from`` is None, that begins when a file with the ending .cool lies beside the kept weights; the
    log then says at which step it was, so that it can be said again.
    """

    rate: float = 2e-4
    head_rate: float = 6e-4
    decay: float = 0.01
    warmup: int = 60
    cool_from: int | None = None
    cooling: float = 0.25
    window: int = 96
    pieces: int = 800
    entailment: float = 0.3
    smoothing: float = 0.03
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Example:
    a: list[int]
    b: list[int]
    same: float
    entails: float


def examples(rows: Sequence[Row], encode: Encode) -> list[Example]:
    """``encode`` gives the pieces of a text without special ones."""
    return [
        Example(
            encode(row.a),
            encode(row.b),
            UNKNOWN if row.same is None else float(row.same),
            UNKNOWN if row.entails is None else float(row.entails),
        )
        for row in rows
    ]


def pair_ids(
    a: Sequence[int], b: Sequence[int], special: tuple[int, int, int, int], window: int
) -> tuple[list[int], int]:
    """Pieces of the pair and how many belong to the first text, special ones included; the longer text is cut."""
    a, b = list(a), list(b)
    while len(a) + len(b) > window - 3:
        (a if len(a) > len(b) else b).pop()
    first, between, last, _ = special
    return [first, *a, between, *b, last], len(a) + 2


def tensors(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], special: tuple[int, int, int, int], window: int
) -> tuple[Tensor, Tensor, Tensor]:
    made = [pair_ids(a, b, special, window) for a, b in pairs]
    longest = max(len(ids) for ids, _ in made)
    ids = np.full((len(made), longest), special[3], np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for at, (row, first) in enumerate(made):
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
        types[at, first : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types)


def batches(found: Sequence[Example], pieces: int, window: int, draw: random.Random) -> Iterator[list[Example]]:
    """Shuffled, then sorted by length within stretches, so that a batch is little padding and still mixed."""
    order = list(found)
    draw.shuffle(order)
    groups: list[list[Example]] = []
    for start in range(0, len(order), 2000):
        stretch = sorted(order[start : start + 2000], key=lambda one: len(one.a) + len(one.b))
        group: list[Example] = []
        for one in stretch:
            length = min(window, len(one.a) + len(one.b) + 3)
            if group and (len(group) + 1) * length > pieces:
                groups.append(group)
                group = []
            group.append(one)
        groups.append(group)
        tail = groups[-60:]
        draw.shuffle(tail)
        groups[-60:] = tail
    yield from groups


def loss_of(logits: Tensor, batch: Sequence[Example], turned: Sequence[bool], plan: Plan) -> Tensor:
    """Cross-entropy of both outputs. What a turned pair entails is only known where both texts are the same question."""
    same = torch.tensor([one.same for one in batch])
    entails = torch.tensor(
        [UNKNOWN if turn and one.same != 1 else one.entails for one, turn in zip(batch, turned, strict=True)]
    )
    total = logits.sum() * 0
    for at, (target, weight) in enumerate(((same, 1.0), (entails, plan.entailment))):
        known = target != UNKNOWN
        if known.any():
            soft = target[known] * (1 - 2 * plan.smoothing) + plan.smoothing
            total = total + weight * functional.binary_cross_entropy_with_logits(logits[known, at], soft)
    return total


def train(
    model: CrossEncoder, found: Sequence[Example], special: tuple[int, int, int, int], plan: Plan, kept: Path
) -> None:
    """Trains in place; writes the weights to ``kept`` every 200 steps and at the end."""
    torch.manual_seed(plan.seed)
    draw = random.Random(plan.seed)
    head = [*model.head.parameters(), model.match]
    body = [value for value in model.parameters() if value.requires_grad and not any(value is one for one in head)]
    optimiser = torch.optim.AdamW(
        [{"params": body, "lr": plan.rate}, {"params": head, "lr": plan.head_rate}], weight_decay=plan.decay
    )
    model.train()
    begun, mean, done, cool_from = time.time(), 0.0, 0, plan.cool_from
    stream = (batch for _ in itertools.count() for batch in batches(found, plan.pieces, plan.window, draw))
    for step, batch in enumerate(stream, 1):
        if cool_from is None and kept.with_suffix(".cool").exists():
            cool_from = step
            print(f"cooling from step {step}", flush=True)
        share = _share(step, cool_from, plan)
        for group, rate in zip(optimiser.param_groups, (plan.rate, plan.head_rate), strict=True):
            group["lr"] = share * rate
        mean = 0.98 * mean + 0.02 * _step(model, optimiser, batch, special=special, plan=plan, draw=draw)
        done += len(batch)
        if step % 25 == 0:
            taken = time.time() - begun
            shown = mean / (1 - 0.98**step)
            print(f"{step}, {done} pairs, loss {shown:.3f}, {done / taken:.1f} pairs/s, {taken:.0f} s", flush=True)
        if step % 200 == 0 or share <= 0:
            np.savez(kept, **model.arrays())
        if share <= 0:
            return


def _step(
    model: CrossEncoder,
    optimiser: torch.optim.Optimizer,
    batch: Sequence[Example],
    *,
    special: tuple[int, int, int, int],
    plan: Plan,
    draw: random.Random,
) -> float:
    """One step on a batch, half of whose pairs are turned round; its loss."""
    turned = [draw.random() < 0.5 for _ in batch]
    pairs = [(one.b, one.a) if turn else (one.a, one.b) for one, turn in zip(batch, turned, strict=True)]
    loss = loss_of(model(*tensors(pairs, special, plan.window)), batch, turned, plan)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _share(step: int, cool_from: int | None, plan: Plan) -> float:
    """Of the full rate, in [0, 1]; 0 ends the training."""
    if cool_from is not None and step >= cool_from:
        return max(0.0, 1 - (step - cool_from) / (plan.cooling * cool_from))
    return min(1.0, step / plan.warmup)


def logits(
    model: CrossEncoder, pairs: Sequence[tuple[list[int], list[int]]], special: tuple[int, int, int, int], window: int
) -> NDArray[np.float32]:
    """The first logit of every pair, (n,)."""
    model.eval()
    found = np.zeros(len(pairs), np.float32)
    order = sorted(range(len(pairs)), key=lambda at: len(pairs[at][0]) + len(pairs[at][1]))
    with torch.no_grad():
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            found[part] = model(*tensors([pairs[at] for at in part], special, window))[:, 0].numpy()
    return found
