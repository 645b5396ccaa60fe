"""``report.html`` of ``yamabiko tune``: one file with its figures in it, that asks nothing of any network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from yamabiko.cli.judging import LEFT_OUT, Judged
from yamabiko.cli.tuning import BUDGETS, METHODS, Method, Tuned
from yamabiko.core.calibrate import Certificate, Terms

EXAMPLES = 50
"""So many examples of each kind are shown; all are counted."""

_CAPTIONS: Mapping[str, str] = {
    "threshold": "Wrong share of the hits against the threshold, with its interval; dashed: the budget, dotted: the "
    "threshold in use.",
    "tradeoff": "What is served at which wrong share.",
    "reliability": "What p_correct says, and what these pairs say; the numbers count pairs.",
}
_BASES: Mapping[str, str] = {
    "certificate": "the certified one",
    "shipped": "the one that the package has for this embedder, made from public data",
    "pairs": "the lowest that keeps the budget on these very pairs, which promises nothing for others",
    "none": "",
}


def report_html(
    parts: Sequence[Tuned], figures: Mapping[str, Mapping[str, bytes]], *, terms: Terms, uncompared: int, texts: bool
) -> str:
    """The whole page. ``figures``: PNGs by model and name. ``texts``: whether it shows pairs that went wrong."""
    pairs = uncompared + sum(len(part.judged) for part in parts)
    intro = (
        f"<p>{pairs:,} labelled pairs. The budget: at most {terms.max_error_rate:.2%} wrong per {terms.on}, at "
        f"{terms.confidence:.0%} confidence.</p>"
        "<p>What is certified here holds for traffic of which these pairs are a random part, and for no other.</p>"
    )
    if uncompared:
        intro += f"<p>{uncompared:,} pairs {LEFT_OUT}.</p>"
    body = intro + "".join(_section(part, figures[part.model], terms, texts=texts) for part in parts)
    page = files("yamabiko.cli").joinpath("tune_report.html").read_text(encoding="utf-8")
    return Template(page).substitute(title="When may these answers be served?", body=body)


def outcome_sentence(part: Tuned) -> str:
    """What is certified, or what is missing for it."""
    outcome = part.outcome
    if not isinstance(outcome, Certificate):
        return f"nothing can be certified: {outcome.reason}"
    terms, test = outcome.terms, outcome.test
    return (
        f"certified: at most {outcome.error_upper:.2%} wrong per {terms.on} from score {outcome.threshold:.4f} on, at "
        f"{terms.confidence:.0%} confidence; {test.wrong} of {test.trials} in the test were wrong"
    )


def in_use_sentence(part: Tuned) -> str:
    """Which threshold the figures by axis and by guard take, and what it serves."""
    if part.threshold is None:
        return "no threshold keeps the budget on these pairs"
    served = part.served()
    wrong = sum(not one.pair.correct for one in served)
    return (
        f"threshold in use {part.threshold:.4f}, {_BASES[part.basis]}: serves {len(served) - wrong:,} of "
        f"{part.right:,} right pairs, and {wrong:,} of {len(part.judged) - part.right:,} different ones"
    )


def _section(part: Tuned, figures: Mapping[str, bytes], terms: Terms, *, texts: bool) -> str:
    certified = isinstance(part.outcome, Certificate)
    kind = "outcome" if certified else "outcome no"
    outcome = f'<p class="{kind}">{escape(_capital(outcome_sentence(part)))}.</p>'
    pieces = [
        f"<h2>{escape(part.model)}</h2>",
        f"<p>{len(part.judged):,} pairs, {part.right:,} of them right.</p>",
        outcome,
        f"<p>{escape(_capital(in_use_sentence(part)))}.</p>",
        _budgets(part),
        *(_image(name, png) for name, png in figures.items()),
        _curve(part, terms),
        _axes(part),
        _guards(part),
    ]
    if texts:
        served = [one for one in part.served() if not one.pair.correct]
        refused = [one for one in part.judged if one.pair.correct and one.weighed.vetoes]
        pieces += [
            _examples("Different, and served", served),
            _examples("Right, and refused by a guard", refused),
        ]
    return "\n".join(pieces)


def _budgets(part: Tuned) -> str:
    heads = ["", *(f"{budget:.1%} wrong" for budget in BUDGETS)]
    rows = []
    for method, points in part.at_budgets.items():
        cells = [f"{point.hits:,} from {point.threshold:.4f}" if point else "0" for point in points]
        rows.append([METHODS[method], *cells])
    return _table("Most hits among these pairs at a wrong share", heads, rows, text=1)


def _image(name: str, png: bytes) -> str:
    caption = escape(_CAPTIONS[name])
    source = base64.b64encode(png).decode("ascii")
    picture = f'<img alt="{caption}" src="data:image/png;base64,{source}">'
    return f'<figure>{picture}<figcaption class="note">{caption}</figcaption></figure>'


def _curve(part: Tuned, terms: Terms) -> str:
    points = [point for point in part.curves["score"] if point.threshold >= terms.min_score]
    shown = points if len(points) <= 25 else [points[len(points) * at // 25] for at in range(25)]
    rows = [
        [
            f"{point.threshold:.4f}",
            f"{point.hits:,}",
            f"{point.wrong:,}",
            f"{point.wrong / point.hits:.2%}",
            f"{point.low:.2%} to {point.high:.2%}",
        ]
        for point in shown
    ]
    heads = ["score", "hits", "wrong", "wrong per hit", f"{terms.confidence:.0%} interval"]
    return _table("Guards and score, threshold by threshold", heads, rows)


def _axes(part: Tuned) -> str:
    def of(method: Method) -> list[str]:
        return [f"{METHODS[method]}: right", "wrong"]

    heads = ["axis", "right pairs", "different", *(head for method in METHODS for head in of(method))]
    rows = [
        [
            axis.name or "(none)",
            f"{axis.right:,}",
            f"{axis.different:,}",
            *(f"{count[method]:,}" for method in METHODS for count in (axis.served, axis.wrong)),
        ]
        for axis in part.axes
    ]
    return _table("What is served by axis, each cosine with as many hits in all as the score", heads, rows, text=1)


def _guards(part: Tuned) -> str:
    rows = [
        [one.name, one.mode, f"{one.caught:,}", f"{one.harmed:,}", f"{one.alone:,}", one.advice, one.why]
        for one in part.guards
    ]
    marked = {at for at, one in enumerate(part.guards) if one.changes}
    heads = ["guard", "mode", "found in different", "in right", "decides alone", "ought to be", "because"]
    return _table("Guards", heads, rows, text=1, marked=marked, last_text=True)


def _examples(caption: str, judged: Sequence[Judged]) -> str:
    if not judged:
        return ""
    rows = [
        [
            f"{one.pair.line}",
            one.pair.axis,
            one.pair.a,
            one.pair.b,
            f"{one.weighed.similarity:.4f}",
            f"{one.weighed.score:.4f}",
            ", ".join(veto.guard for veto in one.weighed.vetoes),
        ]
        for one in judged[:EXAMPLES]
    ]
    more = f", of which {EXAMPLES} are shown" if len(judged) > EXAMPLES else ""
    heads = ["line", "axis", "stored", "asked", "similarity", "score", "vetoes"]
    return _table(f"{caption}: {len(judged):,}{more}", heads, rows, texts={1, 2, 3, 6})


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text: int = 0,
    marked: Iterable[int] = (),
    last_text: bool = False,
    texts: Iterable[int] = (),
) -> str:
    """A table; the first ``text`` columns, those in ``texts`` and with ``last_text`` the last hold words."""
    words = {*range(text), *texts, *([len(heads) - 1] if last_text else [])}
    lit = set(marked)

    def line(tag: str, row: Sequence[str], kind: str = "") -> str:
        kinds = [' class="text"' if at in words else "" for at in range(len(row))]
        cells = (f"<{tag}{of}>{escape(cell)}</{tag}>" for of, cell in zip(kinds, row, strict=True))
        return f"<tr{kind}>{''.join(cells)}</tr>"

    lines = [line("th", heads)]
    lines += [line("td", row, ' class="marked"' if at in lit else "") for at, row in enumerate(rows)]
    inside = "\n".join(lines)
    return f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n{inside}\n</table></div>'


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
