"""Yamabiko for LangChain; needs ``pip install 'yamabiko[langchain]'``.

``YamabikoCache`` is an LLM cache, ``YamabikoEmbeddings`` embeds each text once, ``EmbedderEmbeddings`` is one of our
embedders as LangChain's, ``CachedRetriever`` keeps documents by question. ``asked_by`` and ``Caller`` say for whom.
"""

from __future__ import annotations

from yamabiko.errors import MissingExtra

try:
    import langchain_core.caches  # noqa: F401 - asked for here, so that whoever lacks it is told what to install
except ImportError as error:
    raise MissingExtra("langchain", "the LangChain adapter") from error

from yamabiko.adapters.langchain_cache import YamabikoCache
from yamabiko.adapters.langchain_caller import Caller, Who, asked_by
from yamabiko.adapters.langchain_embeddings import EmbedderEmbeddings, YamabikoEmbeddings
from yamabiko.adapters.langchain_retriever import CachedRetriever

__all__ = [
    "CachedRetriever",
    "Caller",
    "EmbedderEmbeddings",
    "Who",
    "YamabikoCache",
    "YamabikoEmbeddings",
    "asked_by",
]
