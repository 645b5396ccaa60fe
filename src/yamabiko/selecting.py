"""What a selector means, entry by entry; every store says the same in its own language."""

from __future__ import annotations

from yamabiko.types import Entry, Selector, Source

MAX_BARRIERS = 256
"""So many purges with a condition are each a barrier for what fits it; the older ones are one for everything."""


def fits(entry: Entry, selector: Selector) -> bool:
    """Whether the entry is one of those meant."""
    scope = entry.scope
    return (
        selector.id in (None, entry.id)
        and (selector.tag is None or selector.tag in entry.tags)
        and selector.tenant in (None, scope.tenant)
        and selector.user in (None, scope.user)
        and selector.model in (None, scope.model)
        and made_from(entry.reply.sources, selector)
        and (selector.dead_at is None or entry.stale_until <= selector.dead_at)
    )


def made_from(sources: tuple[Source, ...], selector: Selector) -> bool:
    """Whether documents with this evidence are those that a selector asks for, where it asks for any."""
    if selector.source is not None and not any(
        source.uri == selector.source and (selector.except_digest is None or source.digest != selector.except_digest)
        for source in sources
    ):
        return False
    return selector.base is None or any(source.base == selector.base for source in sources)


class Barriers:
    """What was purged, each under a number that rises: an answer begun before a purge that means it is outdated.

    The last ``MAX_BARRIERS`` conditions are told apart; ``everything`` is the number up to which anything is outdated.
    """

    def __init__(self) -> None:
        self.everything = 0
        self._purged: dict[Selector, int] = {}

    def add(self, selector: Selector, number: int) -> None:
        """A purge begins. Of what is dead anyway, nobody can make anything that must be forgotten."""
        if selector.dead_at is not None:
            return
        if selector == Selector():
            self.everything = number
            self._purged.clear()
            return
        self._purged.pop(selector, None)  # the last purge of the same says all that the earlier ones do
        self._purged[selector] = number
        if len(self._purged) > MAX_BARRIERS:
            self.everything = max(self.everything, self._purged.pop(next(iter(self._purged))))

    def outdate(self, entry: Entry, since: int) -> bool:
        """Whether an answer that was begun at this number is outdated."""
        return since < self.everything or any(
            since < number and fits(entry, selector) for selector, number in self._purged.items()
        )
