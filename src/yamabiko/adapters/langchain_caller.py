"""For whom an interface that names nobody is called: LangChain's caches and LangGraph's are told of no tenant."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: ``tenant`` and ``user`` as in ``Request``; ``permissions`` are labels of documents they may read."""

    tenant: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    permissions: tuple[str, ...] = field(default=(), repr=False)


Who: TypeAlias = Callable[[], Caller | None] | Caller | None
"""A function that says who asks, now; or one caller for all; or None: whom ``asked_by`` names."""

_asking: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("yamabiko_caller", default=None)


@contextlib.contextmanager
def asked_by(*, tenant: str = "", user: str = "", permissions: Sequence[str] = ()) -> Iterator[Caller]:
    """Within this block, whatever is asked of the adapters is asked for this tenant, user and permissions.

    It holds for the running task or thread and for what LangChain and LangGraph start from it.
    """
    caller = Caller(tenant=tenant, user=user, permissions=tuple(permissions))
    token = _asking.set(caller)
    try:
        yield caller
    finally:
        _asking.reset(token)


class Callers:
    """Says who asks; None where that can't be known, and then nothing may be shared.

    With a function, nobody is known whom it does not name a tenant for. Without one it is whom ``asked_by`` names;
    where nobody was ever named, there is but one tenant, the nameless one. Once a tenant has been named, a call that
    names none is one that somebody forgot to name, and not that tenant's.
    """

    def __init__(self, who: Who) -> None:
        self._who = who
        self._named = False

    def now(self) -> Caller | None:
        """The caller of this moment."""
        if isinstance(self._who, Caller):
            return self._who
        if self._who is not None:
            caller = self._who()
            return caller if caller is not None and caller.tenant else None
        caller = _asking.get()
        if caller is not None and caller.tenant:
            self._named = True
            return caller
        return None if self._named else caller or Caller()
