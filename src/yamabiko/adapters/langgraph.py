"""Yamabiko for LangGraph; needs ``pip install 'yamabiko[langgraph]'``.

``YamabikoNodeCache`` keeps the results of nodes for the very same input; ``semantic_node`` answers a node's question by
meaning and streams what it replays. ``asked_by`` and ``Caller`` say for whom.
"""

from __future__ import annotations

from yamabiko.errors import MissingExtra

try:
    import langgraph.cache.base  # noqa: F401 - asked for here, so that whoever lacks it is told what to install
except ImportError as error:
    raise MissingExtra("langgraph", "the LangGraph adapter") from error

from yamabiko.adapters.langchain_caller import Caller, Who, asked_by
from yamabiko.adapters.langgraph_cache import YamabikoNodeCache
from yamabiko.adapters.langgraph_node import semantic_node

__all__ = ["Caller", "Who", "YamabikoNodeCache", "asked_by", "semantic_node"]
