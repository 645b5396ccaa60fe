"""What a namespace may serve by meaning: four states, and the evidence that moves it from one to the next.

::

    exact_only --> shadow --> serving --> tightened
        ^            |           |        |    |
        '------------+-----------+--------'    '--> serving again, with a certificate newer than the alarm

``exact_only``: nothing by meaning. ``shadow``: candidates are looked up and labelled, and nothing is served yet.
``serving``: from the certified threshold on. ``tightened``: from the strict threshold on, audited more, after evidence
of drift. Every move says why, with its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from yamabiko.core import binomial
from yamabiko.core.calibrate import Certificate, Shortfall
from yamabiko.core.drift import STOP, TIGHTEN, EProcess
from yamabiko.core.sampling import Design, Sample
from yamabiko.core.score import EntryLabels
from yamabiko.ports import Mix
from yamabiko.types import Calibration

Outcome: TypeAlias = Certificate | Shortfall | None

AUDIT_FIRST = 0.2
AUDIT_LATER = 0.1
AUDIT_FIRST_LABELS = 200
AUDIT_SUSPICIOUS = 0.3
SUSPICION = 1.2
"""E from which on more is audited."""
_CONTRARY = 0.05


class State(StrEnum):
    """What a namespace may serve by meaning. The same words stand in metrics, headers and docs."""

    EXACT_ONLY = "exact_only"
    SHADOW = "shadow"
    SERVING = "serving"
    TIGHTENED = "tightened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a namespace when its state is looked at again.

    ``certificate``: the one that applies, as ``back_off`` chose it. ``outdated``: what was changed since it was made
    (``Versions.changes``), empty when nothing. ``shortfall``: what the latest attempt to certify the namespace's own
    labels lacked, None where it succeeded or was not made. ``process``: the bet against the certificate, begun when it
    was made, fed with the audits of this very namespace. ``learning``: whether labels can be had at all.
    """

    certificate: Certificate | None = None
    outdated: str = ""
    shortfall: Shortfall | None = None
    process: EProcess | None = None
    learning: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A state, the score from which on answers are served by meaning (None: none are), and why."""

    state: State
    threshold: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a look-up needs to know of its namespace, and nothing that must be read from a store.

    ``threshold``: score in (0, 1) from which on a candidate is served by meaning; None where none is. ``calibration``
    and ``error_upper``: what stands behind it, see ``Hit``. ``design``: which look-ups are drawn for a label at
    present; None where none are. ``entries``: what labels have shown of single entries, by id. ``mix``: how a
    verifier's log-odds are in these scores; None: they are not. ``behind``: why other scores are in force instead.
    ``beside``: where it stands by other scores, which are labelled too and serve nothing here.
    """

    namespace: str
    state: State
    threshold: float | None
    calibration: Calibration
    reason: str
    error_upper: float | None = None
    design: Design | None = None
    entries: Mapping[str, EntryLabels] = field(default_factory=dict, repr=False)
    mix: Mix | None = None
    behind: str = ""
    beside: tuple[Position, ...] = ()


def transition(state: State, evidence: Evidence) -> Standing:
    """The state after looking at the evidence, one step at most: the same state when nothing speaks for another."""
    certificate = evidence.certificate
    if state is State.EXACT_ONLY:
        if not evidence.learning and not _usable(evidence):
            return _standing(state, None, "no labels can be had: there is no judge, or no budget for it")
        why = "there is a certificate" if _usable(evidence) else "labels can be had"
        return _standing(
            State.SHADOW, None, f"{why}: candidates are looked up and labelled, nothing is served by meaning"
        )
    if certificate is None or evidence.outdated:
        lacking = _lacking(evidence)
        if state is not State.SHADOW:
            return _standing(State.EXACT_ONLY, None, lacking)
        return _standing(State.SHADOW if evidence.learning else State.EXACT_ONLY, None, lacking)
    process = evidence.process
    if process is not None and state is State.SHADOW and process.peak >= TIGHTEN:
        return _standing(state, None, _bet(process, TIGHTEN))
    if process is not None and process.peak >= STOP:
        return _standing(State.EXACT_ONLY, None, _bet(process, STOP))
    if process is not None and process.peak >= TIGHTEN:
        return _standing(State.TIGHTENED, certificate.strict_threshold, _bet(process, TIGHTEN))
    if state is not State.SHADOW and evidence.shortfall is not None and evidence.shortfall.cause == "errors":
        reason = f"the latest labels do not renew the certificate: {evidence.shortfall.reason}"
        return _standing(State.TIGHTENED, certificate.strict_threshold, reason)
    return _standing(State.SERVING, certificate.threshold, _claim(certificate))


def back_off(chain: Sequence[Outcome], own: Sample | None = None) -> tuple[Certificate | None, str]:
    """The certificate that applies to a namespace, and a sentence that says so.

    ``chain``: the latest outcome of the namespace itself, of its parent, and so on to the root, and last the shipped
    calibration, if any; None where nobody tried. While labels are few the nearest ancestor's certificate applies: its
    promise then holds for the ancestor's traffic as a whole. ``own``: the namespace's own labels. No ancestor is
    believed against them: neither when too many of them are wrong for any threshold of its own, nor when those at the
    ancestor's threshold are wrong more often than its promise allows (at 95 % confidence).
    """
    for distance, outcome in enumerate(chain):
        if isinstance(outcome, Shortfall) and outcome.cause == "errors":
            return None, outcome.reason
        if not isinstance(outcome, Certificate):
            continue
        if distance and own is not None:
            against = _contrary(outcome, own)
            if against:
                return None, against
        whose = f"from {outcome.terms.namespace!r}, while labels of its own are few" if distance else "its own"
        return outcome, f"the certificate is {whose}"
    short = next((outcome for outcome in chain if isinstance(outcome, Shortfall)), None)
    return None, short.reason if short else "nothing has been certified yet"


def audit_rate(state: State, labels: int, process: EProcess | None = None) -> float:
    """The share of hits that are answered afresh and compared; 1 in shadow, where a fresh answer exists anyway.

    ``labels``: how many the namespace has. More are audited until there are ``AUDIT_FIRST_LABELS``, and while the bet
    against the certificate is winning: an alarm takes a certain number of audits, which so comes sooner. Each rate is a
    design of its own; that it depends on the past harms neither test, for it never depends on what it draws.
    """
    if state is State.EXACT_ONLY:
        return 0.0
    if state is State.SHADOW:
        return 1.0
    if state is State.TIGHTENED or (process is not None and process.e_value >= SUSPICION):
        return AUDIT_SUSPICIOUS
    return AUDIT_FIRST if labels < AUDIT_FIRST_LABELS else AUDIT_LATER


def _standing(state: State, threshold: float | None, reason: str) -> Standing:
    return Standing(state=state, threshold=threshold, reason=reason)


def _usable(evidence: Evidence) -> bool:
    stopped = evidence.process is not None and evidence.process.peak >= STOP
    return evidence.certificate is not None and not evidence.outdated and not stopped


def _lacking(evidence: Evidence) -> str:
    if evidence.certificate is not None:
        return f"another {evidence.outdated} is in use than the certificate was made for"
    return evidence.shortfall.reason if evidence.shortfall else "nothing has been certified yet"


def _bet(process: EProcess, limit: float) -> str:
    seen = f"{process.wrong} of {process.trials} audits since the certificate were wrong"
    return f"{seen}, against a tested rate of {process.budget:.2%}: E rose to {process.peak:.4g}, at or above {limit:g}"


def _claim(certificate: Certificate) -> str:
    terms, test = certificate.terms, certificate.test
    claim = f"at most {certificate.error_upper:.2%} wrong per {terms.on} from score {certificate.threshold:.4f} on"
    return f"{claim}, at {terms.confidence:.0%} confidence: {test.wrong} of {test.trials} in the test were wrong"


def _contrary(certificate: Certificate, own: Sample) -> str:
    """Why a namespace's own labels speak against an ancestor's certificate; empty when they do not."""
    if certificate.terms.on == "request":
        requests = sum(design.requests for design in own.designs)
        counted = sum(design.requests * design.common(certificate.threshold) for design in own.designs)
        trials, rate = requests, certificate.terms.tested_rate * (counted / requests if requests else 0.0)
    else:
        trials, rate = int(np.count_nonzero(own.at(certificate.threshold))), certificate.terms.tested_rate
    wrong = int(np.count_nonzero(own.at(certificate.threshold) & own.wrong))
    if not wrong or wrong > trials or binomial.upper_tail(wrong, trials, rate) > _CONTRARY:
        return ""
    seen = f"{wrong} of its own {trials} were wrong from score {certificate.threshold:.4f} on"
    return f"{seen}, more than the {rate:.2%} that {certificate.terms.namespace!r} was tested against"
