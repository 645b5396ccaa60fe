"""The tally of wrong answers among the latest audited hits, which acts before any alarm could: pure.

An alarm (``core/drift.py``) has to be proved, and an error rate of twice the budget takes hundreds of audits to prove.
Until then answers are served. So the errors themselves are counted too: each wrong audited hit adds 1, each audited hit
takes a share of the budget away, and the count never falls below 0. Where it rises to ``TIGHTEN_AT`` the strict
threshold serves until the count is 0 again. At ``GIVE_UP_AT`` what is served by is given up, and what labels certify
after that serves strictly at first.

This is Page's cumulative sum. In whatever order errors come: between two moments at 0 no more than ``GIVE_UP_AT`` + 1
audited hits can be wrong beyond the budget; divided by the audited share of hits, that is about how many were served.
The limits are a heuristic, no test: bad luck may reach them too, and costs hits. They were chosen on simulated streams
and CLINC150, and measured on other seeds: benchmarks/standings.py, docs/learning.md.

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
PRECAUTION = "too many of the latest audits were wrong: a precaution, until enough others were right"
GAVE_UP = "too many of the latest audits were wrong to go on by what it served by"


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
    """Whether what it serves by has to go: its own certificate, or an ancestor's or a shipped threshold, for itself."""
    return known.excess >= GIVE_UP_AT


def given_up(known: NamespaceState, began: str = "") -> NamespaceState:
    """Without a certificate of its own, and with something to make good."""
    began = began or known.began
    return msgspec.structs.replace(
        known, certificate=None, shortfall=None, excess=LEFT_OVER, cautious=True, began=began
    )
