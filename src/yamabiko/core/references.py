"""Step 9 of 9: numbers of orders, customers and the like, which belong to one person.

A number counts where the words before it say what it is (order number, booking reference, 注文番号), not where it is
given as an example. The words are in ``data/personal.json``.
"""

from __future__ import annotations

import functools

from yamabiko.core.rules import compiled, table

_BEFORE_NUMBER = (
    (
        r"\b(?:{documents})(?: confirmation| request)? ?(?:number|no\.?|id|code|#|ref(?:erence)?)(?: is|:| =)? ?#?\Z",
        r"(?=[a-z-]{{0,6}}\d)[a-z0-9/-]{{4,25}}",
    ),
    (
        r"\b(?:order|booking|reservation|invoice|shipment|claim|tracking|ticket|case|parcel|pnr) ?(?:#|: ?#?)\Z",
        r"(?=[a-z-]{{0,6}}\d)[a-z0-9-]{{4,25}}",
    ),
    (
        r"(?<!\bto )(?<!\bi )(?<!\bcan )\b(?:order|booking|reservation|invoice|shipment|parcel) \Z",
        r"(?=[a-z-]{{0,4}}\d\d)[a-z0-9-]{{5,25}}(?! (?:units|pieces|pcs|copies|items|of|or)\b)",
    ),
    (
        r"\b(?:booking|reservation|confirmation|pnr|reference)(?: (?:code|reference|ref))?(?: is|:) ?\Z",
        r"(?=[a-z]{{0,5}}\d|\d{{1,5}}[a-z])[a-z0-9]{{6}}(?![a-z0-9])",
    ),
    (r"(?:{documents_ja})(?:は|が|:|の|、|=)? ?[「#№]?\Z", r"(?=[a-z-]{{0,6}}\d)[a-z0-9-]{{4,25}}(?!桁|文字)"),
    (r"注文 ?[#№]?\Z", r"\d{{6,25}}"),
)
"""What stands before the number of an order, a customer or the like, and what such a number looks like."""
_BETWEEN = " #:=.№「はがの、"
_LAST = (
    *("number", "no", "id", "code", "ref", "reference", " is"),
    *("order", "booking", "reservation", "invoice", "shipment", "claim", "tracking", "ticket", "case", "parcel", "pnr"),
    *("confirmation", "番号", "注文"),
)
"""What a text must end in before a number, but for what may stand between: looked at first, it is much faster."""
_SAMPLE = (
    r"(?:\be\.?g\.?|example|such as|like|format|looks|sample|例えば|たとえば|例[:は]|形式"
    r"|のような)[^.?!。\n]{0,24}\Z"
)


def references(said: str) -> list[str]:
    """Order, customer and like numbers that a folded text names; not those given as an example."""
    found, seen = [], 0
    for match in compiled(r"\d[a-z0-9/-]{3,24}|\d[a-z0-9]{0,3}").finditer(said):
        start = match.start()
        while start > max(seen, match.start() - 7) and (said[start - 1] == "-" or "a" <= said[start - 1] <= "z"):
            start -= 1
        seen = match.end()
        before = said[max(0, start - 50) : start]
        if seen - start < 4 or not before.rstrip(_BETWEEN).endswith(_LAST) or compiled(_SAMPLE).search(before):
            continue
        for place, form in _number_forms():
            if compiled(place).search(before) and compiled(form).match(said, start):
                found.append(said[start:seen])
                break
    return found


@functools.cache
def _number_forms() -> tuple[tuple[str, str], ...]:
    words = {
        "documents": table("personal")["en"]["document"],
        "documents_ja": "|".join(table("personal")["ja"]["document"].split()),
    }
    return tuple((place.format(**words), form.format(**words)) for place, form in _BEFORE_NUMBER)
