"""What ``explain`` and ``tune`` look at: two questions as steps 1, 4 and 6 of the path see them, without any store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from yamabiko.core import guards, score
from yamabiko.core.decide import guard_modes
from yamabiko.core.normalise import normalise
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Embedder
from yamabiko.types import Policy, Request, Vector

BATCH = 64
"""Texts that are embedded at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One question: its two forms after step 1, and the model and vector of step 4.

    ``vector`` is None where nothing is matched by meaning; ``why_not`` then says why.
    """

    question: str = field(repr=False)
    text: str = field(repr=False)
    model: str
    vector: Vector | None = field(repr=False)
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """All that step 6 makes of two questions: features in the order of ``score.FEATURES``, score and p_correct."""

    similarity: float
    findings: tuple[guards.Finding, ...]
    vetoes: tuple[guards.Finding, ...]
    features: tuple[float, ...]
    score: float
    p_correct: float


def modes_for(policy: Policy, category: str = "") -> Mapping[str, guards.Mode]:
    """What each guard does for requests of a category: the policy's own word, else the guard's default."""
    return {**guards.MODES, **guard_modes(policy, category)}


async def see(texts: Sequence[str], embedder: Embedder, step: Callable[[int], None]) -> list[Seen]:
    """Each text after steps 1 and 4; equal ones are embedded once. ``step`` is told how many more of them are done.

    Raises ``EmbeddingError``.
    """
    forms = {text: normalise(Request(text)) for text in texts}
    wanted = list(dict.fromkeys(form.text for form in forms.values() if form.text))
    vectors: dict[str, Vector | None] = {}
    step(len(forms) - len(wanted))
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        vectors.update(zip(part, await embedder.embed(part), strict=True))
        step(len(part))
    return [
        Seen(
            question=form.question,
            text=form.text,
            model=embedder.model_for(form.text) if form.text else NO_EMBEDDER,
            vector=vectors.get(form.text),
            why_not=form.not_embedded
            or ("" if vectors.get(form.text) is not None else "the model can't see all of it"),
        )
        for form in (forms[text] for text in texts)
    ]


def is_same(stored: Seen, asked: Seen) -> bool:
    """Whether they are the very same question to the exact tier, and never come to be compared by meaning."""
    return stored.question == asked.question


def never_compared(stored: Seen, asked: Seen) -> str:
    """Why the cache never compares these two by meaning; empty where it does."""
    for seen in (stored, asked):
        if seen.why_not:
            return seen.why_not
    if stored.model != asked.model:
        return f"they are embedded by different models, {stored.model} and {asked.model}"
    return ""


def weigh(stored: Seen, asked: Seen, modes: Mapping[str, guards.Mode]) -> Weighed:
    """Guards and score of two questions that are compared by meaning, the stored one being the only candidate."""
    assert stored.vector is not None
    assert asked.vector is not None
    similarity = float(np.clip(np.dot(asked.vector, stored.vector), -1, 1))
    return weigh_texts(stored.text, asked.text, asked.model, modes, similarity=similarity)


def weigh_texts(
    stored: str,
    asked: str,
    embedder: str,
    modes: Mapping[str, guards.Mode],
    *,
    similarity: float,
    margin: float = score.NO_RUNNER_UP,
) -> Weighed:
    """The same of two texts as they are embedded, with their cosine; ``margin``: see ``score.features``."""
    new, old = guards.read(asked), guards.read(stored)
    findings = guards.check(new, old, modes)
    values = score.features(new, old, findings, similarity=similarity, margin=margin)
    model = score.model_for(embedder)
    weight = model.score(values)
    return Weighed(
        similarity=similarity,
        findings=findings,
        vetoes=guards.vetoes(findings, modes),
        features=values,
        score=weight,
        p_correct=model.p_correct(weight),
    )
