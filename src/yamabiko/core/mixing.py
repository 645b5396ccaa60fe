"""Step 7 of 9: what a verifier says becomes a part of the score, under the same certificate as the score alone.

A verifier is asked about the best few candidates whose score is in the grey zone. Its log-odds are weighed with the
score; where it is unsure or late, that is a no. What comes out is a score like any other: a threshold on it is
certified by labels that were drawn by this very score, so that the promise never rests on the verifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from yamabiko.core.score import MIN_SCORE, EntryLabels, with_entry
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Mix
from yamabiko.types import Candidate

MOST_ASKED = 3
"""So many candidates at most, the best ones, a verifier is asked about."""
LARGEST = 12.0
"""Log-odds are cut off here: no single source shall be surer than 1 in 160,000."""
A_NO = 1e-4
"""The score of a candidate that the verifier should have vouched for and did not."""


def checked(mix: Mix) -> Mix:
    """The mix itself. Raises ``ConfigurationError`` for numbers that can't be."""
    weights = (mix.bias, mix.score, mix.verifier, mix.doubt)
    if not all(map(math.isfinite, weights)) or mix.verifier < 0 or mix.verifier + mix.doubt < 0:
        raise ConfigurationError("a verifier's weights must be numbers, and its own not below 0")
    if not 0 <= mix.low <= mix.high <= 1:
        raise ConfigurationError(f"the grey zone must be a range in [0, 1], not {mix.low} to {mix.high}")
    if not mix.name:
        raise ConfigurationError("a mix must name its verifier: labels of different ones are never counted together")
    return mix


def version_of(mix: Mix) -> str:
    """Names the verifier and all numbers that its final score depends on."""
    numbers = (mix.bias, mix.score, mix.verifier, mix.doubt, mix.low, mix.high)
    return f"{mix.name}:{sha256(repr(tuple(number + 0.0 for number in numbers)).encode()).hexdigest()[:8]}"


def final_score(mix: Mix, score: float, log_odds: float) -> float:
    """The score in (0, 1) with the verifier's log-odds in it; it never falls when these rise."""
    own, said = _cut(log_odds_of(score)), _cut(log_odds)
    return _chance(mix.bias + mix.score * own + mix.verifier * said + mix.doubt * min(said, 0.0))


def is_grey(mix: Mix, score: float) -> bool:
    """Whether the verifier is asked about a candidate of this score."""
    return mix.low <= score < mix.high


def doubtful(ranked: Sequence[Candidate], mixes: Iterable[Mix]) -> tuple[Candidate, ...]:
    """Of the best ``MOST_ASKED`` those that a verifier is asked about; ``ranked``: with scores, best first."""
    known = tuple(mixes)
    best = (candidate for candidate in ranked[:MOST_ASKED] if candidate.score is not None)
    return tuple(candidate for candidate in best if any(is_grey(mix, _alone(candidate)) for mix in known))


def mixed(
    ranked: Sequence[Candidate],
    log_odds: Mapping[str, float],
    mix: Mix | None,
    *,
    entries: Mapping[str, EntryLabels],
    spread: float,
) -> tuple[Candidate, ...]:
    """The candidates with the scores of one mix, best first; None: with those of the score alone.

    ``ranked``: with scores of their own. ``log_odds``: what the verifier said, by entry; whoever is grey and missing
    there gets a no. ``entries`` and ``spread``: what labels said of single entries, and how much that counts, see
    ``with_entry``.
    """
    found = [_with_odds(candidate, log_odds, mix, entries, spread) for candidate in ranked]
    return tuple(sorted(found, key=lambda candidate: -(candidate.score or 0.0)))


def _with_odds(
    candidate: Candidate,
    log_odds: Mapping[str, float],
    mix: Mix | None,
    entries: Mapping[str, EntryLabels],
    spread: float,
) -> Candidate:
    if candidate.score is None:
        return candidate
    alone = _alone(candidate)
    seen = entries.get(candidate.entry.id)
    if mix is None or not is_grey(mix, alone):
        own = with_entry(alone, seen, spread=spread)
        return replace(candidate, score=own, population=None if seen is None else alone)
    said = log_odds.get(candidate.entry.id)
    if said is None:
        return replace(candidate, score=min(A_NO, candidate.score), p_correct=A_NO, population=None, alone=alone)
    score = final_score(mix, alone, said)
    own = with_entry(score, seen, spread=spread)
    population = None if seen is None else score
    return replace(
        candidate, score=own, p_correct=own, population=population, verified=_chance(_cut(said)), alone=alone
    )


def heard(candidate: Candidate, log_odds: Mapping[str, float]) -> Candidate:
    """The candidate with what the verifier said of it, its score unchanged."""
    said = log_odds.get(candidate.entry.id)
    if said is None or candidate.verified is not None:
        return candidate
    return replace(candidate, verified=_chance(_cut(said)), alone=_alone(candidate))


def told(mix: Mix, ranked: Sequence[Candidate], asked: Sequence[Candidate]) -> tuple[str, ...]:
    """What the verifier said of the best candidate, in a sentence; empty where it was not asked about it."""
    if not asked:
        return ()
    best = ranked[0] if ranked else None
    if best is not None and best.verified is not None:
        score = f"score {best.alone:.4f} becomes {best.score:.4f}"
        return (f"the verifier {mix.name} finds the answer right with probability {best.verified:.4f}: {score}",)
    if any(candidate.verified is not None for candidate in ranked):
        return ()
    return (f"the verifier {mix.name} could not vouch for any of {len(asked)} candidates",)


def said_no(best: Candidate) -> bool:
    """Whether it is for the verifier's word that a candidate looks wrong now."""
    return best.alone is not None and best.alone >= MIN_SCORE > (best.score or 0.0)


def log_odds_of(chance: float) -> float:
    """The logarithm of the odds of a chance in [0, 1], finite."""
    chance = min(1 - 1e-13, max(1e-13, chance))
    return math.log(chance / (1 - chance))


def _alone(candidate: Candidate) -> float:
    """The score by which a candidate is grey or not: without what labels said of its entry, and without a verifier."""
    if candidate.alone is not None:
        return candidate.alone
    return candidate.score or 0.0 if candidate.population is None else candidate.population


def _cut(log_odds: float) -> float:
    return min(LARGEST, max(-LARGEST, log_odds))


def _chance(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(30.0, max(-30.0, log_odds))))
