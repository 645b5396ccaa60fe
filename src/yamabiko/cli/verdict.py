"""The verdict of ``yamabiko explain``: that of step 6, on two questions and no entry of any cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yamabiko.cli.weighing import Seen, Weighed, is_same
from yamabiko.core.decide import decide, guard_modes
from yamabiko.core.guards import Mode
from yamabiko.core.score import model_for
from yamabiko.core.states import Position
from yamabiko.types import Candidate, Entry, Policy, Question, Reply, Scope

_NOWHERE = Scope(content=bytes(32), digest=bytes(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Two questions and all that is known of them.

    ``never``: why they are never compared by meaning; ``weighed`` and ``position`` are None then.
    """

    old: Seen
    new: Seen
    modes: Mapping[str, Mode]
    never: str
    weighed: Weighed | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the stored answer would be served; ``reason``: "served", or as ``MissReason`` has it; why, in words."""

    served: bool
    reason: str
    sentence: str


def judge(explanation: Explanation, policy: Policy, category: str) -> Verdict:
    """What becomes of the asked question where the stored one is the only candidate."""
    old, new, weighed, position = explanation.old, explanation.new, explanation.weighed, explanation.position
    if is_same(old, new):
        sentence = "served: it is the very same question, which needs no guard and no score"
        return Verdict(served=True, reason="served", sentence=sentence)
    if not policy.semantic:
        sentence = "not served: the policy serves nothing by meaning (semantic = false)"
        return Verdict(served=False, reason="bypass", sentence=sentence)
    if weighed is None or position is None:
        sentence = f"not served: they are never compared by meaning, since {explanation.never}"
        return Verdict(served=False, reason="bypass", sentence=sentence)
    question = Question(digest=bytes(32), text=old.text)
    entry = Entry(id="", scope=_NOWHERE, questions=(question,), reply=Reply(text=""), created=0.0)
    decision = decide(
        (Candidate(entry=entry, similarity=weighed.similarity),),
        policy,
        asked=new.text,
        position=position,
        model=model_for(new.model),
        modes=guard_modes(policy, category),
        verifier=False,
    )
    served = decision.action == "serve"
    told = "; ".join(decision.reasons)
    return Verdict(
        served=served,
        reason="served" if served else str(decision.reason),
        sentence=f"{'served' if served else 'not served'}: {told}",
    )
