"""How the standing of one namespace moves on when labels have come: pure, of what is stored and what the log says.

``step`` takes in the draws behind the cursor, one after the other: each is a bet against what the namespace serves by,
and with enough of them comes an attempt to certify. ``settle`` then says what follows from that and from the ancestors.
Both depend on the log and the stored state alone (and on the time, where a label is overdue or a certificate old), so
two workers that come to it at once come to the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from yamabiko.core import binomial
from yamabiko.core.calibrate import Certificate, Shortfall, Terms, certify
from yamabiko.core.drift import RECALIBRATE_LABELS, RECALIBRATE_SECONDS, STOP, TIGHTEN, EProcess, labels_for_attempt
from yamabiko.core.sampling import Sample
from yamabiko.core.score import MIN_SCORE
from yamabiko.core.states import (
    AUDIT_SUSPICIOUS,
    Evidence,
    Standing,
    State,
    audit_rate,
    back_off,
    transition,
)
from yamabiko.learn.caution import GAVE_UP, PRECAUTION, given_up, gives_up, tallied
from yamabiko.learn.ledger import Draw, Ledger
from yamabiko.learn.records import (
    MOST_TRANSITIONS,
    Drawing,
    NamespaceState,
    Transition,
    latest,
)

GREY_RATE = 0.2
"""The share of misses between ``MIN_SCORE`` and the threshold that are labelled: they have a fresh answer anyway."""
REPLAYED = 200
"""How many of the latest draws a bet against a new certificate starts with, lest a drift be forgotten with the old one.

It never raises a false alarm: the certificate was chosen because labels look good at it.
"""
FEWEST_NEW = 50
"""New labels without which an old certificate is not tried again: the same labels say the same."""
FIRST_CHECK = 5
"""Labels of its own from which on a namespace does not take an ancestor's certificate on trust."""
SAVE_EACH = 25
"""Draws after which a standing is saved though nothing has changed; what is not saved is read in the log again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for a namespace wherever it stands.

    ``terms``: the promise and the versions in use. ``promise`` and ``versions``: the same as texts. ``learning``:
    whether labels can be had. ``shipped``: a threshold from public data, None where nobody measured the embedder.
    ``most``: the highest rate of drawing; below 1 where other scores are in force, and these are labelled beside them.
    """

    terms: Terms
    promise: str
    versions: str
    learning: bool
    shipped: float | None
    most: float = 1.0


def fresh(namespace: str, rules: Rules, *, distrust: str = "", began: str = "") -> NamespaceState:
    """A namespace of which nothing is stored. ``began``: why it begins anew."""
    return NamespaceState(
        namespace=namespace,
        promise=rules.promise,
        versions=rules.terms.versions,
        distrust=distrust,
        began=began,
        reason=distrust or began or "nothing is known yet",
        next_attempt=labels_for_attempt(1, rules.terms),
    )


def step(
    known: NamespaceState, ancestors: Sequence[NamespaceState], ledger: Ledger, rules: Rules, *, now: float
) -> NamespaceState:
    """The standing after all draws of which it is known what became of them."""
    if not known.since or known.cursor > ledger.position:  # new, or another worker has read further
        known = settle(known, ancestors, rules, now=now, ledger=ledger)
    if known.cursor > ledger.position:
        return known
    per_request = rules.terms.on == "request"
    groups = ledger.resolved(known.namespace, rules.versions, after=known.cursor, now=now, counted=per_request)
    for end, draws in groups:
        if per_request:
            known = _unremarkable(known, draws, ledger, rules, up_to=end)
        known, alarmed = _taken(known, draws, end, rules)
        if known.labels >= known.next_attempt:
            known = _attempt(known, ledger, rules, now=now)
            alarmed = True
        if alarmed:
            known = settle(known, ancestors, rules, now=now, ledger=ledger)
    if known.certificate is not None and _is_old(known, known.labels, now):
        known = _attempt(known, ledger, rules, now=now)
    return settle(known, ancestors, rules, now=now, ledger=ledger)


def settle(
    known: NamespaceState,
    ancestors: Sequence[NamespaceState],
    rules: Rules,
    *,
    now: float,
    ledger: Ledger | None = None,
) -> NamespaceState:
    """What follows from a state and its ancestors' by now; ``ancestors``: the parent first.

    Without a ledger, for whoever only wants to know where it stands, nothing is bet, and what would have to be checked
    against the namespace's own labels first is left as it is.
    """
    support = _support(known, ancestors, rules)
    if not support.own and support.threshold is not None:
        if ledger is None and support.name != known.basis and known.labels >= FIRST_CHECK:
            return known  # not before its own labels have been asked
        known = _tried(known, support, ledger, rules)
        support = _support(known, ancestors, rules)
    known = _rebased(known, support, ledger, rules)
    doubt = _doubt(known, support)
    for _ in State:
        standing = _standing(known, support, doubt, rules)
        if known.began and support.certificate is None:
            standing = replace(standing, reason=f"{known.began}; {standing.reason}")
        same = (standing.state, standing.threshold) == (known.state, known.threshold)
        if same and (known.basis == support.name or standing.threshold is None):
            known = msgspec.structs.replace(known, reason=standing.reason, basis=support.name)
            break
        known = _moved(known, standing, support, now)
    drawing = _drawing(known, rules)
    if drawing is None or drawing == known.drawing:
        return msgspec.structs.replace(known, drawing=drawing)
    return msgspec.structs.replace(known, drawing=drawing, drawings=latest(known.drawings, drawing))


def is_heavy(known: NamespaceState, ledger: Ledger, rules: Rules, now: float) -> bool:
    """Whether a step may come to an attempt to certify, which takes some 30 ms."""
    labels = known.labels + ledger.behind(known.namespace, rules.versions, known.cursor)
    return labels >= known.next_attempt or _is_old(known, labels, now)


def _is_old(known: NamespaceState, labels: int, now: float) -> bool:
    return labels - known.attempted_labels >= FEWEST_NEW and now - known.attempted >= RECALIBRATE_SECONDS


def worth_saving(now: NamespaceState, saved: NamespaceState | None) -> bool:
    """Whether others must hear of it, or too much would have to be read again."""
    if saved is None:
        return now.cursor > 0 or now.distrust != ""
    told = ("state", "threshold", "basis", "certificate", "shortfall", "refused", "start", "attempt", "drawing")
    if any(getattr(now, name) != getattr(saved, name) for name in (*told, "distrust")):
        return True
    return now.labels - saved.labels >= SAVE_EACH


# What a namespace may serve by.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Support:
    """A certificate, or else a shipped threshold, or neither and why. ``ancestor``: whose certificate it is."""

    name: str = ""
    why: str = ""
    certificate: Certificate | None = None
    ancestor: NamespaceState | None = None
    shipped: float | None = None

    @property
    def own(self) -> bool:
        return self.certificate is not None and self.ancestor is None

    @property
    def threshold(self) -> float | None:
        return self.shipped if self.certificate is None else self.certificate.threshold


def _support(known: NamespaceState, ancestors: Sequence[NamespaceState], rules: Rules) -> _Support:
    distrust = [other.distrust for other in (known, *ancestors) if other.distrust]
    chain = [known.outcome, *(ancestor.outcome for ancestor in ancestors if not distrust)]
    certificate, why = back_off(chain)
    if certificate is not None:
        ancestor = next((other for other in ancestors if other.certificate is certificate), None)
        name = f"certificate:{certificate.digest[:16]}:{certificate.terms.attempt}:{certificate.terms.namespace}"
        if ancestor is not None and name in known.refused:
            return _Support(why=known.refused[name])
        return _Support(name=name, why=why, certificate=certificate, ancestor=ancestor)
    if distrust:
        return _Support(why=f"{distrust[0]}: until its own labels certify it nothing is served by meaning")
    if rules.shipped is None or any(outcome.cause == "errors" for outcome in _failed(chain)):
        return _Support(why=why)
    shipped = max(rules.shipped, MIN_SCORE)
    name = f"shipped:{shipped!r}"
    if name in known.refused:
        return _Support(why=known.refused[name])
    return _Support(name=name, why=why, shipped=shipped)


def _failed(chain: Iterable[object]) -> Iterable[Shortfall]:
    return (outcome for outcome in chain if isinstance(outcome, Shortfall))


def _tried(known: NamespaceState, support: _Support, ledger: Ledger | None, rules: Rules) -> NamespaceState:
    """With a refusal of what others have found out, where the namespace's own labels speak against it.

    The bet may be looked at all the time. The plain test may not: it is asked when labels have doubled.
    """
    process = known.process
    if known.basis == support.name and process is not None and process.peak >= STOP:
        return _refusing(known, support, f"{_bet(process)}, at or above {STOP:g}")
    if known.basis == support.name and gives_up(known):
        return _refusing(given_up(known), support, GAVE_UP)
    due = FIRST_CHECK if known.basis != support.name else max(FIRST_CHECK, 2 * known.checked)
    if ledger is None or known.labels < due:
        return known
    own = _sample(known, ledger, rules)
    if support.certificate is not None:
        believed, why = back_off([None, support.certificate], own)
        against = "" if believed is not None else why
    else:
        against = _contrary(own, support.threshold or 0.0, rules)
    known = msgspec.structs.replace(known, checked=known.labels)
    return _refusing(known, support, against) if against else known


def _contrary(own: Sample, threshold: float, rules: Rules) -> str:
    """Why its own labels speak against a shipped threshold, at 95 % confidence; empty where they do not."""
    if rules.terms.on == "request":
        return ""  # of requests few labels say little; the bet goes on
    hits = own.at(threshold)
    trials, wrong, rate = int(np.count_nonzero(hits)), int(np.count_nonzero(hits & own.wrong)), rules.terms.tested_rate
    if not wrong or binomial.upper_tail(wrong, trials, rate) > 0.05:
        return ""
    return f"{wrong} of its own {trials} were wrong from score {threshold:.4f} on, against a tested rate of {rate:.2%}"


def _refusing(known: NamespaceState, support: _Support, why: str) -> NamespaceState:
    others = {name: words for name, words in known.refused.items() if name != support.name}
    if support.shipped is None:  # one certificate follows another; a shipped threshold stays what it is
        others = {name: words for name, words in others.items() if name.startswith("shipped:")}
    return msgspec.structs.replace(known, refused={**others, support.name: why})


def _rebased(known: NamespaceState, support: _Support, ledger: Ledger | None, rules: Rules) -> NamespaceState:
    """With a bet of its own against what it now serves by, where that has changed."""
    if support.name == known.basis or support.threshold is None:
        return known
    process = EProcess.against(rules.terms)
    if ledger is not None and rules.terms.on == "hit":
        recent = ledger.latest(known.namespace, rules.versions, after=known.start, up_to=known.cursor, most=REPLAYED)
        audits = (draw for draw in recent if draw.audits(support.threshold or 0.0, known.namespace))
        process = process.after_all(not draw.correct for draw in audits)
    return msgspec.structs.replace(known, process=process, fed_from=known.cursor)


def _doubt(known: NamespaceState, support: _Support) -> EProcess | None:
    """The bet that has won most: the namespace's own, or that of the ancestor by whose certificate it serves."""
    if support.ancestor is None or support.ancestor.process is None:
        return known.process
    inherited = support.ancestor.process
    return inherited if known.process is None or inherited.peak > known.process.peak else known.process


def _standing(known: NamespaceState, support: _Support, doubt: EProcess | None, rules: Rules) -> Standing:
    if support.certificate is not None:
        shortfall = (support.ancestor or known).shortfall  # of whoever tried to renew this certificate
        found = Evidence(certificate=support.certificate, shortfall=shortfall, process=doubt, learning=rules.learning)
        standing = transition(known.state, found)
        if known.cautious and standing.state is State.SERVING and known.state is not State.SHADOW:
            strict = support.certificate.strict_threshold
            standing = Standing(state=State.TIGHTENED, threshold=strict, reason=PRECAUTION)
        if support.ancestor is not None and standing.threshold is not None:
            return replace(standing, reason=f"{standing.reason}; {support.why}")
        return standing
    if support.shipped is not None:
        return _uncalibrated(known, support.shipped, doubt)
    if not rules.learning:
        advice = "give a judge, or import labels with `yamabiko calibrate`"
        return Standing(state=State.SHADOW, threshold=None, reason=f"{support.why}; no labels can be had: {advice}")
    missing = f"{max(0, known.next_attempt - known.labels)} more labels"
    reason = f"{support.why}; the next attempt to certify comes with {missing}"
    return replace(transition(known.state, Evidence(learning=True)), reason=reason)


def _uncalibrated(known: NamespaceState, shipped: float, process: EProcess | None) -> Standing:
    """The same states by a shipped threshold, which has no certificate but is bet against as well."""
    if known.state is State.EXACT_ONLY:
        return Standing(state=State.SHADOW, threshold=None, reason="there is a shipped calibration")
    alarm = f"{_bet(process)}, at or above {TIGHTEN:g}" if process is not None and process.peak >= TIGHTEN else ""
    if alarm or known.cautious:
        strict = shipped + max(0.0, 1 - shipped) / 2
        return Standing(state=State.TIGHTENED, threshold=strict, reason=alarm or PRECAUTION)
    reason = f"from score {shipped:.4f} on, by public data and for half of what may be wrong: uncalibrated"
    return Standing(state=State.SERVING, threshold=shipped, reason=reason)


def _bet(process: EProcess) -> str:
    seen = f"{process.wrong} of {process.trials} audits were wrong, against a tested rate of {process.budget:.2%}"
    return f"{seen}: E rose to {process.peak:.4g}"


def _moved(known: NamespaceState, standing: Standing, support: _Support, now: float) -> NamespaceState:
    certified = support.certificate is not None and standing.state is State.SERVING
    uncalibrated = standing.threshold is not None and not certified
    process = known.process
    told = Transition(
        namespace=known.namespace,
        promise=known.promise,
        before=known.state,
        after=standing.state,
        reason=standing.reason,
        at=now,
        threshold=standing.threshold,
        # A threshold that is served by because of an alarm is a precaution: nobody has certified it by new labels.
        calibration="certified" if certified else "uncalibrated" if uncalibrated else "none",
        error_upper=support.certificate.error_upper if certified and support.certificate is not None else None,
        labels=known.labels,
        attempt=known.attempt,
        audits=process.trials if process else 0,
        audits_wrong=process.wrong if process else 0,
        e_peak=process.peak if process else 1.0,
    )
    return msgspec.structs.replace(
        known,
        state=standing.state,
        threshold=standing.threshold,
        reason=standing.reason,
        calibration=told.calibration,
        error_upper=told.error_upper,
        basis=support.name,
        served_from=0 if standing.threshold is None else known.served_from or max(1, known.cursor),
        since=now,
        transitions=(*known.transitions[1 - MOST_TRANSITIONS :], told),
    )


def _drawing(known: NamespaceState, rules: Rules) -> Drawing | None:
    """Which look-ups are drawn from now on."""
    if not rules.learning or known.state is State.EXACT_ONLY:
        return None
    # Of labels only audits count here: those from shadow are many, and tell nothing of what has been served since.
    above = audit_rate(known.state, known.audited, known.process)
    now = known.drawing
    if now is not None and now.above == AUDIT_SUSPICIOUS and known.process is not None and known.threshold is not None:
        suspicious = known.process.e_value >= 1  # once aroused, until the bet is lost: a design is not for one draw
        above = AUDIT_SUSPICIOUS if suspicious else above
    threshold = MIN_SCORE if known.threshold is None else max(MIN_SCORE, known.threshold)
    below, above = min(rules.most, above if known.threshold is None else GREY_RATE), min(rules.most, above)
    fixed = Drawing(namespace=known.namespace, versions=rules.versions, floor=MIN_SCORE, threshold=1, below=0, above=0)
    return msgspec.structs.replace(fixed, threshold=threshold, below=below, above=above)


# Labels.


def _taken(known: NamespaceState, draws: Sequence[Draw], end: int, rules: Rules) -> tuple[NamespaceState, bool]:
    """With these draws counted and bet on; whether that has just moved anything (an alarm lets labels count anew)."""
    process = known.process
    before, cautious = _peak(process), known.cautious
    if known.threshold is not None:
        draws = [draw for draw in draws if not draw.stands_apart(known.namespace)]
    audited = known.audited
    if process is not None and known.threshold is not None:
        audits = [draw for draw in draws if draw.audits(known.threshold, known.namespace)]
        process, audited = process.after_all(not draw.correct for draw in audits), audited + len(audits)
        own = [not draw.correct for draw in audits if draw.drawing.namespace == known.namespace]
        known = tallied(known, own, rules.terms.tested_rate)
    known = msgspec.structs.replace(
        known, process=process, cursor=end, labels=known.labels + len(draws), audited=audited
    )
    if gives_up(known) and known.certificate is not None:
        return _anew(given_up(known, GAVE_UP), rules), True
    if before < TIGHTEN <= _peak(process):
        return _anew(known, rules), True
    return known, before < STOP <= _peak(process) or known.cautious != cautious or gives_up(known)


def _anew(known: NamespaceState, rules: Rules) -> NamespaceState:
    """After an alarm only what comes later says how things are; attempts are counted anew with it."""
    return msgspec.structs.replace(
        known,
        start=known.cursor,
        labels=0,
        audited=0,
        attempt=0,
        next_attempt=labels_for_attempt(1, rules.terms),
        attempted_labels=0,
        checked=0,
    )


def _unremarkable(
    known: NamespaceState, draws: Sequence[Draw], ledger: Ledger, rules: Rules, *, up_to: int
) -> NamespaceState:
    """Of a promise per request, the audited requests that were no hits; bet on first, so that E never rises early."""
    process = known.process
    if process is None or known.threshold is None:
        return known
    threshold = known.threshold
    hits = sum(draw.audits(threshold, known.namespace) for draw in draws)
    audited = ledger.audited(known.namespace, rules.versions, after=known.fed_from, up_to=up_to)
    others = [False] * max(0, audited - process.trials - hits)
    known = tallied(known, others, rules.terms.tested_rate)
    return msgspec.structs.replace(known, process=process.after_all(others))


def _attempt(known: NamespaceState, ledger: Ledger, rules: Rules, *, now: float) -> NamespaceState:
    """Try to certify the labels that are known by the cursor, whatever they look like."""
    attempt = known.attempt + 1
    terms = replace(rules.terms, namespace=known.namespace, attempt=attempt, created=now)
    sample = _sample(known, ledger, rules)
    outcome = certify(sample, terms)
    wait = min(RECALIBRATE_LABELS, known.labels // 2)
    due = max(labels_for_attempt(attempt + 1, rules.terms), known.labels + wait)
    known = msgspec.structs.replace(
        known, attempt=attempt, next_attempt=due, attempted_labels=known.labels, attempted=now
    )
    if isinstance(outcome, Certificate):
        return msgspec.structs.replace(known, certificate=outcome, shortfall=None, distrust="")
    if known.certificate is None:
        return msgspec.structs.replace(known, shortfall=outcome)
    if outcome.cause != "errors":  # the certificate stands, and so does what was said against it
        doubted = known.shortfall is not None and known.shortfall.cause == "errors"
        return known if doubted else msgspec.structs.replace(known, shortfall=outcome)
    if known.state is State.SERVING:
        return _anew(msgspec.structs.replace(known, shortfall=outcome), rules)
    return msgspec.structs.replace(known, shortfall=outcome, certificate=None)


def _sample(known: NamespaceState, ledger: Ledger, rules: Rules) -> Sample:
    return ledger.sample(
        known.namespace, rules.versions, after=known.start, up_to=known.cursor, served_from=known.served_from
    )


def _peak(process: EProcess | None) -> float:
    return 1.0 if process is None else process.peak
