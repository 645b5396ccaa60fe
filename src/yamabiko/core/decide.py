"""Step 6 of 9: whether one of the candidates may answer.

Guards first: a candidate that one of them forbids is out. The score is taken of all others, and the best of these wins,
which need not be the nearest. It is served from the threshold on that the namespace's position names, and from no
similarity and no rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from yamabiko.core import guards
from yamabiko.core.score import MIN_SCORE, NO_RUNNER_UP, ScoreModel, features, with_entry
from yamabiko.core.states import Position, State
from yamabiko.types import Candidate, Decision, MissReason, Policy


def search_floor(policy: Policy, model: ScoreModel, *, verifier: bool) -> float:
    """From which similarity on a candidate is worth finding, as a near miss if not as an answer; in [-1, 1]."""
    if policy.max_error_rate is None:
        lowest = policy.min_similarity if policy.min_similarity is not None else 1.0
    else:
        lowest = model.floor if policy.min_similarity is None else max(model.floor, policy.min_similarity)
    if verifier and policy.verify_similarity is not None:
        lowest = min(lowest, policy.verify_similarity)
    return max(-1.0, lowest - policy.near_miss_margin)


def decide(
    candidates: Sequence[Candidate],
    policy: Policy,
    *,
    asked: str,
    position: Position,
    model: ScoreModel,
    modes: Mapping[str, guards.Mode],
    verifier: bool,
) -> Decision:
    """Serve the best allowed candidate, ask the verifier about the doubtful ones, or generate.

    ``asked``: the new question's text. ``position``: where its namespace stands. ``model``: the score of its embedder.
    ``modes``: what each guard does, see ``guard_modes``. ``verifier``: whether one can be asked about candidates from
    ``policy.verify_similarity`` on. The decision's candidates are scored, best first; where the answer is generated,
    they are the near misses, and the first of them is the one that a label would be about.
    """
    verify_from = policy.verify_similarity if verifier else None
    ranking = rank(
        candidates, policy, asked=asked, position=position, model=model, modes=modes, verify_from=verify_from
    )
    return concluded(ranking, policy, position, verify_from=verify_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The candidates that no guard forbids, best first; why others may not answer; ``sound``: all, nearest first."""

    candidates: tuple[Candidate, ...]
    refused: tuple[str, ...]
    sound: tuple[Candidate, ...]


def rank(
    candidates: Sequence[Candidate],
    policy: Policy,
    *,
    asked: str,
    position: Position,
    model: ScoreModel,
    modes: Mapping[str, guards.Mode],
    verify_from: float | None = None,
) -> Ranking:
    """Guards and scores alone: the first half of ``decide``, whose arguments these are."""
    sound = _sound(candidates)
    lowest = _lowest(policy, verify_from)
    ranked, refused = scored(sound, policy, asked=asked, position=position, model=model, modes=modes, lowest=lowest)
    return Ranking(candidates=ranked, refused=refused, sound=sound)


def concluded(
    ranking: Ranking, policy: Policy, position: Position, *, verify_from: float | None = None, said_no: bool = False
) -> Decision:
    """What follows from the scores: the second half of ``decide``.

    ``verify_from``: the similarity from which a verifier is asked that only says yes or no; None where there is none.
    ``said_no``: the best candidate's score would do but for what another verifier said of it.
    """
    ranked, refused, sound = ranking.candidates, ranking.refused, ranking.sound
    if not sound:
        reason = "nothing similar enough to be worth naming is stored in this scope"
        return Decision(action="generate", reason=MissReason.ABSENT, reasons=(reason,))
    if not ranked:
        return Decision(action="generate", candidates=sound, reason=MissReason.GUARD, reasons=refused)
    against = _against(ranked[0], policy, position)
    if not against:
        return Decision(action="serve", candidates=ranked, reasons=(*refused, _in_favour(ranked[0], policy, position)))
    reason, why = against
    if verify_from is not None:
        doubtful = tuple(candidate for candidate in ranked if candidate.similarity >= verify_from)
        if doubtful:
            asking = f"the verifier is asked from similarity {verify_from:.4f} on"
            return Decision(action="verify", candidates=doubtful, reasons=(*refused, why, asking))
        numbers = _told_apart(max(found.similarity for found in ranked), verify_from)
        why += "; similarity {} is below {}, from which the verifier is asked".format(*numbers)
    if refused and reason is MissReason.BELOW_THRESHOLD and all(found is not sound[0] for found in ranked):
        reason = MissReason.GUARD  # the nearest one was refused: but for that it might have answered
    if said_no and reason is MissReason.BELOW_THRESHOLD:
        reason = MissReason.VERIFIER_SAID_NO
    return Decision(action="generate", candidates=ranked, reason=reason, reasons=(*refused, why))


def _lowest(policy: Policy, verify_from: float | None) -> float:
    """From which similarity on a candidate is looked at more closely; below, it is a near miss at best."""
    if policy.max_error_rate is not None or policy.min_similarity is None:
        return -1.0
    return policy.min_similarity if verify_from is None else min(policy.min_similarity, verify_from)


def guard_modes(policy: Policy, category: str) -> Mapping[str, guards.Mode]:
    """What each guard that the policy names does in a category; ``category/guard`` goes before ``guard``."""
    if not policy.guards:
        return policy.guards
    general = {name: mode for name, mode in policy.guards.items() if "/" not in name}
    if not category:
        return general
    own = {name.rpartition("/")[2]: mode for name, mode in policy.guards.items() if name.rpartition("/")[0] == category}
    return general | own


def scored(
    candidates: Sequence[Candidate],
    policy: Policy,
    *,
    asked: str,
    position: Position,
    model: ScoreModel,
    modes: Mapping[str, guards.Mode],
    lowest: float = -1.0,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The candidates that no guard forbids, with their scores, best first, and why others may not answer.

    ``candidates``: most similar first; those below ``lowest`` are taken as they are. Without a promise
    (``max_error_rate`` None) the nearest is the best, and scores are for information.
    """
    new = guards.read(asked)
    ranked: list[Candidate] = []
    refused: list[str] = []
    for place, candidate in enumerate(candidates):
        if candidate.similarity < lowest:
            ranked.append(candidate)
            continue
        stored = guards.read(candidate.question.text)
        findings = guards.check(new, stored, modes)
        vetoes = guards.vetoes(findings, modes)
        at = f"at similarity {candidate.similarity:.4f}"
        refused += [f"guard {found.guard} {at}: {found.detail}" for found in vetoes]
        if vetoes:
            continue
        values = features(new, stored, findings, similarity=candidate.similarity, margin=_margin(candidates, place))
        score = model.score(values)
        p_correct = model.p_correct(score)
        seen = position.entries.get(candidate.entry.id)
        population = score if seen is not None else None
        if seen is not None:
            score = with_entry(score, seen, spread=model.spread)
            p_correct = with_entry(p_correct, seen, spread=model.spread)
        ranked.append(replace(candidate, score=score, p_correct=p_correct, population=population))
    if policy.max_error_rate is not None:
        ranked.sort(key=lambda candidate: -(candidate.score or 0.0))
    return tuple(ranked), tuple(refused)


def _margin(candidates: Sequence[Candidate], place: int) -> float:
    """How much more similar a candidate is than the best other one."""
    if len(candidates) == 1:
        return NO_RUNNER_UP
    other = candidates[1 if place == 0 else 0]
    return candidates[place].similarity - other.similarity


def _against(best: Candidate, policy: Policy, position: Position) -> tuple[MissReason, str] | None:
    """What keeps the best candidate from being served; None where nothing does."""
    least = policy.min_similarity
    if least is not None and best.similarity < least:
        numbers = _told_apart(best.similarity, least)
        return MissReason.BELOW_THRESHOLD, "similarity {} is below min_similarity {}".format(*numbers)
    if policy.max_error_rate is None:
        return None
    score = best.score or 0.0
    if score < MIN_SCORE:
        numbers = _told_apart(score, MIN_SCORE)
        return MissReason.BELOW_THRESHOLD, "score {} is below {}: more likely wrong than right".format(*numbers)
    if position.threshold is None:
        reason = MissReason.SHADOW if position.state is State.SHADOW else MissReason.BELOW_THRESHOLD
        return reason, f"score {score:.4f} would do, but nothing is served by meaning here yet: {position.reason}"
    if score < position.threshold:
        numbers = _told_apart(score, position.threshold)
        return MissReason.BELOW_THRESHOLD, "score {} is below the threshold {}".format(*numbers)
    return None


def _in_favour(best: Candidate, policy: Policy, position: Position) -> str:
    if policy.max_error_rate is None or position.threshold is None:
        least = policy.min_similarity or 0.0
        return f"similarity {best.similarity:.4f} reaches min_similarity {least:.4f}, without a promise"
    reason = f"score {best.score:.4f} reaches the threshold {position.threshold:.4f}"
    return f"{reason}: {position.reason}"


def _sound(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Most similar first, equals in the store's order; a similarity that is not a number is never compared."""
    sound = (candidate for candidate in candidates if not math.isnan(candidate.similarity))
    return tuple(sorted(sound, key=lambda candidate: -candidate.similarity))


def _told_apart(lower: float, higher: float) -> tuple[str, str]:
    """Two numbers with as many decimals as it takes to see which one is lower; four at least."""
    for decimals in range(4, 17):
        texts = f"{lower:.{decimals}f}", f"{higher:.{decimals}f}"
        if float(texts[0]) < float(texts[1]):
            return texts
    return repr(lower), repr(higher)
