"""vCache's decision rule, written anew from its paper, as an arm for benchmarks/quality.py.

Source: Schroeder et al., vCache: Verified Semantic Prompt Caching, arXiv 2502.03771. Per stored prompt, what is known is
a list of (similarity, whether its answer was right); correctness is a logistic function of similarity,
L(s, t, gamma) = 1 / (1 + exp(-gamma (s - t))) (eq. 9), fitted by maximum likelihood (eq. 10). A request is answered by
the model ("explored") with probability tau = min over eps in (0, 1) of
((1 - delta) - (1 - eps) L(s, t'(eps), gamma)) / (1 - (1 - eps) L(s, t'(eps), gamma)) (eq. 11), where t'(eps) is an upper
confidence bound of t at level 1 - eps; else the stored answer is served. It promises P(answer is right) >= 1 - delta per
request, which is wrong answers per request at most delta, not per hit.

What the paper leaves open is read in its favour or neutrally. Perfectly separable labels have no finite maximum: a
weak normal prior (``PRIOR``) on the slope and on t keeps the fit finite. The bound on t is normal, with the covariance
of the fit (delta method). A fit that does not rise with similarity explores. Without labels nothing is served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

EPSILONS = tuple(float(x) for x in np.geomspace(1e-6, 0.5, 40))
Z = tuple(NormalDist().inv_cdf(1 - epsilon) for epsilon in EPSILONS)
SLOPE, SLOPE_SPREAD = 100.0, 100.0
"""Prior of the slope gamma, mean and spread."""
MIDDLE, MIDDLE_SPREAD = 0.8, 0.2
"""Prior of t, the cosine at which right and wrong are equally likely. Of five such priors the one with the most hits on
streams of intents, where this rule has many labels per stored prompt."""


def correctness(similarity: float, t: float, gamma: float) -> float:
    """L(s, t, gamma), eq. 9."""
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, gamma * (similarity - t)))))


def exploration(alpha: float, delta: float) -> float:
    """The least probability of asking the model under which P(right) >= 1 - delta, where alpha = P(stored is right)."""
    if alpha >= 1 - delta:
        return 0.0
    return ((1 - delta) - alpha) / (1 - alpha)


def fit(observed: Sequence[tuple[float, bool]]) -> tuple[float, float, float] | None:
    """(t, gamma, standard error of t) at the posterior mode, by Newton steps; None where it does not rise."""
    s = np.array([similarity for similarity, _ in observed])
    c = np.array([right for _, right in observed], dtype=float)
    t, gamma = MIDDLE, SLOPE
    precision = np.array([1 / MIDDLE_SPREAD**2, 1 / SLOPE_SPREAD**2])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(gamma * (s - t), -500, 500)))
        lean = np.stack([np.full_like(s, -gamma), s - t])  # d logit / d (t, gamma)
        gradient = lean @ (c - p) - precision * np.array([t - MIDDLE, gamma - SLOPE])
        # Expected information: positive definite with the prior, so every step climbs.
        information = (lean * (p * (1 - p))) @ lean.T + np.diag(precision)
        step = np.linalg.solve(information, gradient)
        scale = min(1.0, 0.1 / max(1e-12, abs(float(step[0]))), 20 / max(1e-12, abs(float(step[1]))))
        t, gamma = t + scale * float(step[0]), gamma + scale * float(step[1])
        if np.all(np.abs(step) < (1e-6, 1e-4)):
            break
    if gamma <= 0:
        return None
    return t, gamma, math.sqrt(float(np.linalg.inv(information)[0, 0]))


def tau(similarity: float, observed: Sequence[tuple[float, bool]], delta: float) -> float:
    """The probability with which a request of this similarity is answered by the model (eq. 11), in [0, 1]."""
    fitted = fit(observed) if observed else None
    return 1.0 if fitted is None else tau_of(similarity, fitted, delta)


def tau_of(similarity: float, fitted: tuple[float, float, float], delta: float) -> float:
    """``tau`` of a fit that is already there."""
    t, gamma, error = fitted
    return min(
        exploration((1 - epsilon) * correctness(similarity, t + z * error, gamma), delta)
        for epsilon, z in zip(EPSILONS, Z, strict=True)
    )
