"""Step 2 of 9: the scope and the key, what must be equal for two requests ever to share an answer.

A scope is a filter and never a distance: whatever changes an answer is in it to the letter. Every field goes into the
digest as name, length and value, so that no text can pass for another field's, and nothing is cut short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from yamabiko.core.normalise import normalise, script
from yamabiko.core.personal import personal
from yamabiko.errors import InvalidRequest
from yamabiko.message import Message
from yamabiko.types import Canonical, Key, Policy, Request, Scope

_CONTENT_VERSION = "yamabiko.content.1"
_SCOPE_VERSION = b"yamabiko.scope.1"
_KEY_VERSION = b"yamabiko.key.1"
"""A change of what goes in, or of how a question is normalised, changes these: old entries are then never found."""


class Place(NamedTuple):
    """Where a request belongs: what steps 1 and 2 make of it. Without a ``key``, it has no place in the cache."""

    request: Request
    canonical: Canonical
    key: Key | None


def place_of(request: Request, *, model_for: Callable[[str], str], policy: Policy) -> Place:
    """Steps 1 and 2. ``model_for`` names the model that embeds a text. Raises ``InvalidRequest``, as ``key_of``."""
    canonical = normalise(request)
    if request.bypass or (policy.require_tenant and not request.tenant):
        return Place(request, canonical, None)
    return Place(request, canonical, key_of(request, canonical, embedder=model_for(canonical.text), policy=policy))


def key_of(request: Request, canonical: Canonical, *, embedder: str, policy: Policy) -> Key:
    """The key of a request within its scope; all three digests are SHA-256 (32 bytes).

    ``embedder`` names the model that embeds this text. ``policy.model_families`` maps model names that share answers
    to one name; with ``policy.users`` "personal" the user is part of the scope only where the question is about one
    person; nothing else loosens the scope. Raises ``InvalidRequest`` for a text that is not Unicode.
    """
    model = policy.model_families.get(request.model, request.model)
    user = request.user
    if user and policy.users == "personal" and not _personal(request):
        user = ""
    try:
        content = sha256(_content_text(request, model, user).encode()).digest()
        digest = question_digest(content, request.messages[-1], canonical.question)
    except UnicodeEncodeError:
        raise InvalidRequest("a text of the request holds half a surrogate pair; send valid Unicode") from None
    scope = Scope(
        content=content,
        digest=_scope_digest(content, canonical.text, embedder),
        tenant=request.tenant,
        user=user,
        model=model,
        embedder=embedder,
    )
    return Key(scope=scope, digest=digest)


def question_digest(content: bytes, turn: Message, question: str) -> bytes:
    """The digest of the key of a last turn, ``question`` being its canonical text, in a scope of this content."""
    return sha256(_KEY_VERSION + content + _turn_text(turn.role, question, turn.parts).encode()).digest()


def with_embedder(scope: Scope, text: str, embedder: str) -> Scope:
    """The scope that a question has under another embedder; ``text`` is what is embedded of it."""
    return replace(scope, digest=_scope_digest(scope.content, text, embedder), embedder=embedder)


def principal(request: Request) -> str:
    """For whom an answer is made: 32 hexadecimal digits of a digest of tenant and user; empty without a user."""
    if not request.user:
        return ""
    told = f"tenant:{len(request.tenant)}:{request.tenant}user:{len(request.user)}:{request.user}"
    return sha256(told.encode(errors="surrogatepass")).hexdigest()[:32]


def _personal(request: Request) -> bool:
    """Whether a turn of the user's makes the question one about a single person."""
    return any(personal(turn.text) for turn in request.messages if turn.role == "user")


def _scope_digest(content: bytes, text: str, embedder: str) -> bytes:
    written = script(text)
    parts = f"script:{len(written)}:{written}embedder:{len(embedder)}:{embedder}"
    return sha256(_SCOPE_VERSION + content + parts.encode()).digest()


def _content_text(request: Request, model: str, user: str) -> str:
    earlier: tuple[Message, ...] = request.messages[:-1]
    turns = "".join([_turn_text(turn.role, turn.text, turn.parts) for turn in earlier]) if earlier else ""
    return (  # written out, which takes half the time of a loop
        f"{_CONTENT_VERSION}tenant:{len(request.tenant)}:{request.tenant}user:{len(user)}:{user}"
        f"model:{len(model)}:{model}system:{len(request.system)}:{request.system}"
        f"tools:{len(request.tools)}:{request.tools}tool_choice:{len(request.tool_choice)}:{request.tool_choice}"
        f"response_format:{len(request.response_format)}:{request.response_format}"
        f"sampling:{len(request.sampling)}:{request.sampling}knowledge:{len(request.knowledge)}:{request.knowledge}"
        f"turns:{len(earlier)}:{turns}{_permissions_text(request.permissions)}"
    )


def _permissions_text(held: tuple[str, ...]) -> str:
    """Nothing where there are none, so that keys are what they were before there were any."""
    if not held:
        return ""
    return f"permissions:{len(held)}:" + "".join([f"{len(label)}:{label}" for label in held])


def _turn_text(role: str, text: str, parts: tuple[str, ...]) -> str:
    """A turn, decodable from its left end: lengths count code points, and the parts are counted first."""
    if not parts:
        return f"role:{len(role)}:{role}text:{len(text)}:{text}parts:0:"
    counted = "".join([f"{len(part)}:{part}" for part in parts])
    return f"role:{len(role)}:{role}text:{len(text)}:{text}parts:{len(parts)}:{counted}"
