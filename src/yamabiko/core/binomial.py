"""Exact binomial probabilities and Clopper-Pearson bounds, for up to some millions of trials.

Everything here is deterministic arithmetic on counts: no sampling, no normal approximation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from yamabiko.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
else:
    Floats: TypeAlias = Any

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_NEGLIGIBLE = 1e-17
"""A term this small beside the sum before it no longer changes a double."""


def pmf(successes: int, trials: int, rate: float) -> float:
    """P(X = successes) for X ~ Binomial(trials, rate); relative error about 1e-13 up to a million trials.

    Source: C. Loader, Fast and Accurate Computation of Binomial Probabilities (2000): the saddle-point form, which
    never subtracts the large logarithms of factorials.
    """
    _checked(successes, trials, rate)
    return _pmf(successes, trials, rate, 1 - rate)


def cdf(successes: int, trials: int, rate: float) -> float:
    """P(X <= successes) for X ~ Binomial(trials, rate). Raises ``ConfigurationError`` for impossible counts."""
    _checked(successes, trials, rate)
    return _lower_tail(successes, trials, rate, 1 - rate)


def upper_tail(successes: int, trials: int, rate: float) -> float:
    """P(X >= successes) for X ~ Binomial(trials, rate), without the cancellation of ``1 - cdf``."""
    _checked(successes, trials, rate)
    return _lower_tail(trials - successes, trials, 1 - rate, rate)


def upper_bound(successes: int, trials: int, confidence: float) -> float:
    """One-sided upper bound on a rate: the largest under which so few successes are not rarer than 1 - confidence.

    Source: Clopper and Pearson, Biometrika 26 (1934) 404: the p with P(X <= k; m, p) = 1 - confidence; 1 for k = m.
    """
    _checked(successes, trials, confidence)
    if successes == trials:
        return 1.0
    level = 1 - confidence
    if level <= 0:
        return 1.0
    if successes == 0:
        return -math.expm1(math.log(level) / trials)
    low, high = successes / trials, 1.0
    rate = min(0.5 * (low + 1), float(poisson_upper(np.array([float(successes)]), level)[0]) / trials)
    for _ in range(200):
        tail = _lower_tail(successes, trials, rate, 1 - rate)
        low, high = (rate, high) if tail > level else (low, rate)
        slope = trials * _pmf(successes, trials - 1, rate, 1 - rate)
        # Newton's step on the logarithm of the tail, kept within what is known of the root.
        step = rate + tail * math.log(tail / level) / slope if tail > 0 and slope > 0 else low
        nearer = step if low < step < high else 0.5 * (low + high)
        if abs(nearer - rate) <= 1e-15 + 1e-14 * rate:
            return min(nearer, 1.0)
        rate = nearer
    return high


def lower_bound(successes: int, trials: int, confidence: float) -> float:
    """One-sided lower bound on a rate; 0 for no successes. See ``upper_bound``."""
    return 1 - upper_bound(trials - successes, trials, confidence)


def interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval: half of the doubt on either side; (0, 1) where nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    half = 1 - (1 - confidence) / 2
    return lower_bound(successes, trials, half), upper_bound(successes, trials, half)


def fewest_trials(max_error_rate: float, confidence: float) -> int:
    """How many trials without any error it takes to show an error rate: 149 for 2 % at 95 % confidence.

    ``ceil(ln(1 - confidence) / ln(1 - max_error_rate))``; both in (0, 1). Fewer trials can show nothing at all.
    """
    if not (0 < max_error_rate < 1 and 0 < confidence < 1):
        raise ConfigurationError(f"rate and confidence must be in (0, 1), not {max_error_rate} and {confidence}")
    return max(1, math.ceil(math.log(1 - confidence) / math.log1p(-max_error_rate)))


def most_errors(trials: int, max_error_rate: float, confidence: float) -> int:
    """The most errors among so many trials that still show the rate; -1 where even none would not."""
    _checked(0, trials, max_error_rate)
    level = 1 - confidence
    low, high = -1, trials
    while low < high:
        middle = (low + high + 1) // 2
        if _lower_tail(middle, trials, max_error_rate, 1 - max_error_rate) <= level:
            low = middle
        else:
            high = middle - 1
    return low


def log_gamma(x: Floats) -> Floats:
    """Logarithm of Gamma(x) for x > 0, element by element; absolute error about 1e-13 for x up to 100.

    Source: Stirling's series, DLMF 5.11.1, after shifting the argument above 8 by DLMF 5.5.1.
    """
    z = x + 8.0
    shift = np.log(x * (x + 1) * (x + 2) * (x + 3)) + np.log((x + 4) * (x + 5) * (x + 6) * (x + 7))
    w = 1 / (z * z)
    inner = 1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))
    result: Floats = (z - 0.5) * np.log(z) - z + _HALF_LOG_TAU + (1 / 12 - w * (1 / 360 - w * inner)) / z - shift
    return result


def poisson_upper(counts: Floats, level: float) -> Floats:
    """Upper bounds on Poisson means, to about 1 %: only for planning, never for a promise.

    Source: Wilson and Hilferty, PNAS 17 (1931) 684: the cube root of a chi-square variable is nearly normal.
    """
    shape = counts + 1
    result: Floats = shape * (1 - 1 / (9 * shape) + normal_quantile(1 - level) / (3 * np.sqrt(shape))) ** 3
    return result


@lru_cache(maxsize=64)
def normal_quantile(probability: float) -> float:
    """The z below which a standard normal variable lies with this probability, to about 1e-9; for planning."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = 0.5 * math.erfc(-middle / math.sqrt(2)) < probability
        low, high = (middle, high) if below else (low, middle)
    return low


def _checked(successes: int, trials: int, rate: float) -> None:
    if not 0 <= successes <= trials:
        raise ConfigurationError(f"there can't be {successes} among {trials}")
    if not 0 <= rate <= 1:
        raise ConfigurationError(f"a probability must be in [0, 1], not {rate}")


def _lower_tail(k: int, n: int, p: float, q: float) -> float:
    """P(X <= k): the largest term times a sum of ratios, from the side of the mean on which the terms fall."""
    if k >= n:
        return 1.0
    if p <= 0 or q <= 0:
        return 1.0 if p <= 0 else 0.0
    if k > n * p:  # above the mean: one minus the tail beyond
        return max(0.0, 1 - _lower_tail(n - k - 1, n, q, p))
    total = term = 1.0
    odds = q / p
    for i in range(k, 0, -1):
        term *= i * odds / (n - i + 1)
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return min(1.0, _pmf(k, n, p, q) * total)


def _pmf(k: int, n: int, p: float, q: float) -> float:
    if p <= 0 or q <= 0:
        return float(k == (0 if p <= 0 else n))
    if k == 0:
        return math.exp(n * (math.log1p(-p) if p < 0.5 else math.log(q)))
    if k == n:
        return math.exp(n * (math.log1p(-q) if q < 0.5 else math.log(p)))
    rest = n - k
    exponent = _stirling_error(n) - _stirling_error(k) - _stirling_error(rest)
    exponent -= _deviance(k, n * p) + _deviance(rest, n * q)
    return math.exp(exponent) * math.sqrt(n / (2 * math.pi * k * rest))


def _stirling_error(n: int) -> float:
    """Logarithm of n! minus Stirling's formula for it."""
    if n < 16:
        return math.log(math.factorial(n)) - (n + 0.5) * math.log(n) + n - _HALF_LOG_TAU
    w = 1.0 / (n * n)
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w / 1188)))) / n


def _deviance(x: float, mean: float) -> float:
    """Loader's D0: x ln(x / mean) + mean - x, without cancellation where the two are close."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total, power = (x - mean) * v, 2 * x * v
    for j in range(1, 1000):
        power *= v * v
        longer = total + power / (2 * j + 1)
        if longer == total:
            break
        total = longer
    return total
