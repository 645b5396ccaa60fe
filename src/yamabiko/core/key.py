"""Step 2 of 9: the scope and the key, what must be equal for two requests ever to share an answer.

A scope is a filter and never a distance: whatever changes an answer is in it to the letter. Every field goes into the
digest as name, length and value, so that no text can pass for another field's, and nothing is cut short.
"""

from __future__ import annotations

from hashlib import sha256

from yamabiko.core.normalise import script
from yamabiko.errors import InvalidRequest
from yamabiko.message import Message
from yamabiko.types import Canonical, Key, Policy, Request, Scope

_SCOPE_VERSION = "yamabiko.scope.1"
_KEY_VERSION = "yamabiko.key.1"
"""A change of what goes in, or of how a question is normalised, changes these: old entries are then never found."""


def key_of(request: Request, canonical: Canonical, *, embedder: str, policy: Policy) -> Key:
    """The key of a request within its scope; both digests are SHA-256 (32 bytes).

    ``embedder`` names the model that embeds this text. ``policy.model_families`` maps model names that share answers
    to one name; nothing else loosens the scope. Raises ``InvalidRequest`` for a text that is not Unicode.
    """
    model = policy.model_families.get(request.model, request.model)
    turn = request.messages[-1]
    try:
        scope_digest = sha256(_scope_text(request, canonical, model, embedder).encode()).digest()
        key_text = f"{_KEY_VERSION}{scope_digest.hex()}{_turn_text(turn.role, canonical.question, turn.parts)}"
        digest = sha256(key_text.encode()).digest()
    except UnicodeEncodeError:
        raise InvalidRequest("a text of the request holds half a surrogate pair; send valid Unicode") from None
    scope = Scope(digest=scope_digest, tenant=request.tenant, user=request.user, model=model, embedder=embedder)
    return Key(scope=scope, digest=digest)


def _scope_text(request: Request, canonical: Canonical, model: str, embedder: str) -> str:
    fields = (
        ("tenant", request.tenant),
        ("user", request.user),
        ("model", model),
        ("system", request.system),
        ("tools", request.tools),
        ("tool_choice", request.tool_choice),
        ("response_format", request.response_format),
        ("sampling", request.sampling),
        ("knowledge", request.knowledge),
        ("script", script(canonical.text)),
        ("embedder", embedder),
    )
    earlier: tuple[Message, ...] = request.messages[:-1]
    turns = "".join([_turn_text(turn.role, turn.text, turn.parts) for turn in earlier])
    named = "".join([f"{name}:{len(value)}:{value}" for name, value in fields])
    return f"{_SCOPE_VERSION}{named}turns:{len(earlier)}:{turns}"


def _turn_text(role: str, text: str, parts: tuple[str, ...]) -> str:
    """A turn, decodable from its left end: lengths count code points, and the parts are counted first."""
    if not parts:
        return f"role:{len(role)}:{role}text:{len(text)}:{text}parts:0:"
    counted = "".join([f"{len(part)}:{part}" for part in parts])
    return f"role:{len(role)}:{role}text:{len(text)}:{text}parts:{len(parts)}:{counted}"
