"""Questions made from templates: the label of every pair is known from how it was made.

A ``Group`` is one meaning: ``same`` are ways to ask it, each list in ``other`` another meaning with the same slots.
A filler is a tuple of forms that mean the same. From a group come right pairs (two ways, equal fillers) and wrong ones
(another filler in one slot, two slots exchanged, another meaning). Groups and fillers are split by a digest of their
name into those for training and those for measuring, so that neither shares a template or a filler with the other.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from verifier_training.rows import Row

Filler = tuple[str, ...]

HELD_OUT_SHARE = 0.15
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Group:
    """``slots``: slot -> kind of filler. ``turned``: two slots whose exchange asks something else.

    ``free``: two slots whose exchange asks the same.
    """

    slots: Mapping[str, str]
    same: Sequence[str]
    other: Sequence[Sequence[str]] = ()
    turned: tuple[str, str] | None = None
    free: tuple[str, str] | None = None


def held_out(text: str) -> bool:
    """Whether a template or filler of this name is kept for measuring."""
    return digest(text) % 256 < 256 * HELD_OUT_SHARE


def digest(text: str) -> int:
    """A number in [0, 65536) that only depends on the text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:2])


def made_rows(
    dataset: str,
    groups: Sequence[Group],
    fillers: Mapping[str, Sequence[Filler]],
    *,
    each: int,
    seed: int,
    measured: bool = False,
) -> list[Row]:
    """About ``each`` rows of every group of one side of the split."""
    kept = {
        kind: [one for one in every if held_out(one[0]) == measured] or list(every) for kind, every in fillers.items()
    }
    rows: list[Row] = []
    for group in groups:
        if held_out(group.same[0]) == measured:
            draw = random.Random(f"{seed}/{group.same[0]}")
            for _ in range(each):
                rows += _rows_of(dataset, group, kept, draw)
    return rows


def _rows_of(dataset: str, group: Group, fillers: Mapping[str, Sequence[Filler]], draw: random.Random) -> Iterator[Row]:
    """One right and one or two wrong pairs."""
    values = _filled(group, fillers, draw)
    first = draw.choice(group.same)
    a = _text(first, values, draw)
    second = draw.choice([way for way in group.same if way != first] or [first])
    exchanged = dict(values)
    if group.free and draw.random() < 0.5:
        one, two = group.free
        exchanged[one], exchanged[two] = values[two], values[one]
    yield Row(dataset, "paraphrase", a, _text(second, exchanged, draw), 1, 1)
    way = first if draw.random() < 0.6 else second
    kinds = [kind for kind in ("filler", "turned", "meaning") if _possible(kind, group, fillers)]
    for kind in draw.sample(kinds, min(len(kinds), 2)):
        if kind == "filler":
            slot = draw.choice([name for name, each in group.slots.items() if len(fillers[each]) > len(group.slots)])
            changed = {**values, slot: _other(values, group.slots[slot], fillers, draw)}
            yield Row(dataset, group.slots[slot], a, _text(way, changed, draw), 0, 0)
        elif kind == "turned" and group.turned:
            one, two = group.turned
            changed = {**values, one: values[two], two: values[one]}
            yield Row(dataset, "direction", a, _text(way, changed, draw), 0, 0)
        else:
            yield Row(dataset, "meaning", a, _text(draw.choice(draw.choice(group.other)), values, draw), 0, 0)


def _possible(kind: str, group: Group, fillers: Mapping[str, Sequence[Filler]]) -> bool:
    if kind == "filler":
        return any(len(fillers[each]) > len(group.slots) for each in group.slots.values())
    return bool(group.turned if kind == "turned" else group.other)


def _filled(group: Group, fillers: Mapping[str, Sequence[Filler]], draw: random.Random) -> dict[str, Filler]:
    values: dict[str, Filler] = {}
    for slot, kind in group.slots.items():
        values[slot] = draw.choice([one for one in fillers[kind] if one not in values.values()])
    return values


def _other(
    values: Mapping[str, Filler], kind: str, fillers: Mapping[str, Sequence[Filler]], draw: random.Random
) -> Filler:
    return draw.choice([one for one in fillers[kind] if one not in values.values()])


def _text(way: str, values: Mapping[str, Filler], draw: random.Random) -> str:
    def form(found: re.Match[str]) -> str:
        forms = values[found[1]]
        return forms[0] if draw.random() < 0.6 else draw.choice(forms)

    text = SLOT.sub(form, way)
    return text[0].upper() + text[1:]
