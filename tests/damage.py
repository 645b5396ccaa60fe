"""JSON that is nearly right: whole bodies with a few of their values replaced by something else."""

import copy

from hypothesis import strategies as st

WRONG = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", "やま", [], ["x"], [None], [[]], {}, {"type": "x"}, [{"type": "x"}], {"text": 7}]
)


def places(value, path=()):
    """The paths to all values in a JSON value, but for itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*path, name)
        yield from places(each, (*path, name))


@st.composite
def damaged(draw, values):
    """One of these JSON objects, with up to four of its values replaced or left out."""
    value = copy.deepcopy(draw(st.sampled_from(values)))
    for _ in range(draw(st.integers(0, 4))):
        found = list(places(value))
        if not found:
            break
        *path, last = draw(st.sampled_from(found))
        owner = value
        for name in path:
            owner = owner[name]
        if draw(st.booleans()) and isinstance(owner, dict):
            del owner[last]
        else:
            owner[last] = copy.deepcopy(draw(WRONG))
    return value
