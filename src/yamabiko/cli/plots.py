"""The figures of ``yamabiko tune`` as PNG. Their words are English and our own: no text needs a font of its own."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from yamabiko.cli.tuning import METHODS, Bin, Method, Point, Tuned
from yamabiko.core.score import MIN_SCORE
from yamabiko.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Mapping[Method, str] = MappingProxyType({"cosine": "#d55e00", "guarded": "#e69f00", "score": "#0072b2"})
"""Told apart by colour-blind readers too. Source: Okabe and Ito, Color Universal Design (2008)."""

_FEWEST = 10
"""The wrong share of fewer hits is not drawn: it jumps about."""


def require() -> None:
    """Raises ``MissingExtra`` where there is nothing to plot with."""
    if find_spec("matplotlib") is None:
        raise MissingExtra("tune", "yamabiko tune")


def threshold_figure(tuned: Tuned, max_error_rate: float) -> bytes:
    """Wrong share of the hits, with its interval, against the threshold: the cosine's, and the score's."""
    figure = _figure(width=10)
    left, right = figure.subplots(1, 2, sharey=True)
    halves: tuple[tuple[Axes, tuple[Method, ...]], ...] = ((left, ("cosine", "guarded")), (right, ("score",)))
    for axes, methods in halves:
        for method in methods:
            _share_of_wrong(axes, tuned.curves[method], COLOURS[method], METHODS[method])
        axes.axhline(100 * max_error_rate, color="black", linewidth=0.8, linestyle="--")
        axes.set_ylim(0, max(10.0, 400 * max_error_rate))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    highest = left.get_ylim()[1] / 100
    left.set_xlim(_from(tuned.curves["cosine"], tuned.curves["guarded"], below=highest), 1.001)
    right.set_xlim(max(MIN_SCORE, _from(tuned.curves["score"], below=highest)), 1.001)
    if tuned.threshold is not None:
        right.axvline(tuned.threshold, color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="similarity from which on answers are served", ylabel="wrong per hit, %")
    right.set(xlabel="score from which on answers are served")
    return _png(figure)


def tradeoff_figure(tuned: Tuned, max_error_rate: float) -> bytes:
    """Right answers served against the wrong share of the hits, for the three methods."""
    figure = _figure(width=6.5)
    axes = figure.subplots()
    right = max(1, tuned.right)
    for method, points in tuned.curves.items():
        drawn = [point for point in points if point.hits >= _FEWEST]
        axes.plot(
            [100 * point.wrong / point.hits for point in drawn],
            [100 * (point.hits - point.wrong) / right for point in drawn],
            color=COLOURS[method],
            label=METHODS[method],
        )
    axes.axvline(100 * max_error_rate, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="wrong per hit, %", ylabel="right pairs that are served, %", ylim=(0, 102))
    axes.set_xlim(0, max(10.0, 400 * max_error_rate))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return _png(figure)


def reliability_figure(bins: Sequence[Bin]) -> bytes:
    """How many are right of the pairs of a stated probability; on the diagonal it says what is so."""
    figure = _figure(width=6.5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
    shares = [one.correct / one.pairs for one in bins]
    axes.errorbar(
        [one.p_correct for one in bins],
        shares,
        yerr=(
            [share - one.low for one, share in zip(bins, shares, strict=True)],
            [one.high - share for one, share in zip(bins, shares, strict=True)],
        ),
        fmt="o-",
        color=COLOURS["score"],
        capsize=3,
    )
    for one, share in zip(bins, shares, strict=True):
        axes.annotate(f"{one.pairs}", (one.p_correct, share), textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xlabel="p_correct, as stated", ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    return _png(figure)


def _figure(*, width: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, 4.5), dpi=110, layout="constrained")


def _share_of_wrong(axes: Axes, points: Sequence[Point], colour: str, label: str) -> None:
    drawn = [point for point in points if point.hits >= _FEWEST]
    thresholds = [point.threshold for point in drawn]
    axes.plot(thresholds, [100 * point.wrong / point.hits for point in drawn], color=colour, label=label)
    low, high = [100 * point.low for point in drawn], [100 * point.high for point in drawn]
    axes.fill_between(thresholds, low, high, color=colour, alpha=0.15, linewidth=0)


def _from(*curves: Sequence[Point], below: float) -> float:
    """From which threshold on there is something to see: a wrong share below what is drawn, and a little more."""
    seen = (point.threshold for points in curves for point in points if point.wrong <= below * point.hits)
    lowest = min(0.98, *seen, 0.98)
    return lowest - (1 - lowest) / 4


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
