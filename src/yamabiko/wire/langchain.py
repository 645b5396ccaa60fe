"""What LangChain hands to its caches: ``dumps(messages)`` and a description of the model, back to a Request.

Source: langchain-core 1.7.2, ``langchain_core.load`` and ``BaseChatModel._get_llm_string``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message
from yamabiko.types import Request
from yamabiko.wire.openai import split_system

_ROLES: Mapping[str, str] = {
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
}
_NO_INFLUENCE = frozenset({"type", "id", "role", "response_metadata", "usage_metadata", "example"})
"""What a message carries about how it was made, which no model sees."""

_MODEL = re.compile(r"""['"](?:model|model_name|model_id)['"]\s*[:,]\s*['"]([^'"]+)['"]""")


def request_from(prompt: str, llm_string: str, *, tenant: str = "", user: str = "") -> Request:
    """A Request from the two texts of ``BaseCache.lookup``.

    A plain ``prompt`` is one user message; messages are read back from LangChain's JSON, whose frame is never
    embedded. What looks like LangChain's JSON and can't be read is compared to the letter only. ``llm_string`` counts
    as sampling as a whole; ``model`` is the name found in it.
    """
    system, messages = split_system(_messages(prompt))
    named = _MODEL.search(llm_string)
    return Request(
        messages,
        model=named[1] if named else "",
        system=system,
        tenant=tenant,
        user=user,
        sampling={"langchain": llm_string} if llm_string else None,
    )


def _messages(prompt: str) -> list[Message]:
    plain = [Message(role="user", text=prompt)]
    if not prompt.lstrip().startswith("["):
        return plain
    try:
        items = json.loads(prompt)
    except (ValueError, RecursionError):  # an ordinary prompt may begin with a thousand brackets
        return plain
    if not items or not all(isinstance(item, Mapping) and "lc" in item for item in items):
        return plain
    messages = [_message(item) for item in items]
    read = [message for message in messages if message is not None]
    return read if len(read) == len(messages) else [Message(role="user", parts=(prompt,))]


def _message(item: Mapping[str, Any]) -> Message | None:
    """One message, or None where this is not a message as we know them."""
    path, kwargs = item.get("id"), item.get("kwargs")
    if item.get("type") != "constructor" or not isinstance(path, list) or not path or not isinstance(kwargs, Mapping):
        return None
    role = kwargs.get("role") or _ROLES.get(str(path[-1]).removesuffix("Chunk"))
    if not isinstance(role, str):
        return None
    fields = {k: v for k, v in kwargs.items() if k not in _NO_INFLUENCE and v not in (None, [], {})}
    try:
        return Message.parse({"role": role, **fields})
    except InvalidRequest:
        return None
