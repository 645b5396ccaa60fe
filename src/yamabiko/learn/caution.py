"""The tally of wrong answers among the latest audited hits, which acts before any alarm could: pure.

An alarm (``core/drift.py``) has to be proved, and an error rate of twice the budget takes hundreds of audits to prove.
Until then answers are served. So the errors themselves are counted too: each wrong audited hit adds 1, each audited hit
takes a share of the budget away, and the count never falls below 0. Where it rises to ``TIGHTEN_AT`` the strict
threshold serves until the count is 0 again; at ``GIVE_UP_AT`` a certificate of one's own is dropped, only later labels
count, and what they certify serves strictly at first.

This is Page's cumulative sum. In whatever order errors come: between two moments at 0 at most ``GIVE_UP_AT`` + 1 audited
hits were wrong beyond the budget, so about that number divided by the share of hits that is audited were served. The
limits are a heuristic, no test: they may be reached by bad luck, which costs hits and never the promise. They were chosen
on simulated streams and on CLINC150 and then measured on other seeds: benchmarks/standings.py, docs/learning.md.

Source: Page, Continuous Inspection Schemes, Biometrika 41 (1954) 100.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from yamabiko.learn.records import NamespaceState

BUDGET_SHARE = 0.7
"""What share of the budget each audited hit takes away: what is served should stay below the budget, not at it."""
TIGHTEN_AT = 1.5
GIVE_UP_AT = 2.5
LEFT_OVER = 2.0
"""What the count is after a certificate was dropped: its successor has that to make good."""
PRECAUTION = "too many of the latest audited hits were wrong: a precaution, until as many more were right"
GAVE_UP = "too many of the latest audited hits were wrong for any certificate of before: labels count anew"


def tallied(known: NamespaceState, outcomes: Iterable[bool], rate: float) -> NamespaceState:
    """With more audited hits of its own counted, in the order in which they were drawn; True is wrong.

    Descendants' are left to their own tallies: else a few errors of a single tenant would tighten all.

    ``rate``: the budget as audits show it, ``Terms.tested_rate``. Of a promise per request: of requests that an audit
    would have drawn.
    """
    excess = known.excess
    for wrong in outcomes:
        excess = min(GIVE_UP_AT, max(0.0, excess + wrong - BUDGET_SHARE * rate))
    cautious = excess > 0 if known.cautious else excess >= TIGHTEN_AT
    return msgspec.structs.replace(known, excess=excess, cautious=cautious)


def gives_up(known: NamespaceState) -> bool:
    """Whether its own certificate has to go."""
    return known.certificate is not None and known.excess >= GIVE_UP_AT


def given_up(known: NamespaceState) -> NamespaceState:
    """Without its certificate, and with something to make good."""
    return msgspec.structs.replace(
        known, certificate=None, shortfall=None, excess=LEFT_OVER, cautious=True, began=GAVE_UP
    )
