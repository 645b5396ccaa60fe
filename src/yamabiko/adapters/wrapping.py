"""A vendor's client, with the cache in front of it: ``wrap(client, cache=cache)``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from yamabiko.adapters import bedrock
from yamabiko.adapters.wrap_http import looking
from yamabiko.adapters.wrap_reading import Wishes
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError
from yamabiko.sync import SyncCache
from yamabiko.types import PLAIN, Controls

Client = TypeVar("Client")
_CLIENTS = (
    ("openai", "OpenAI", False),
    ("openai", "AsyncOpenAI", True),
    ("anthropic", "Anthropic", False),
    ("anthropic", "AsyncAnthropic", True),
)
"""Library, class, and whether it awaits. What inherits from one is wrapped as well."""
_KNOWN = "openai's OpenAI and AsyncOpenAI, anthropic's Anthropic and AsyncAnthropic, and boto3's bedrock-runtime"


def wrap(
    client: Client,
    *,
    cache: Cache | SyncCache,
    tenant: str = "",
    user: str = "",
    knowledge: str = "",
    category: str = "",
    tags: Sequence[str] = (),
    permissions: Sequence[str] = (),
    controls: Controls = PLAIN,
) -> Client:
    """A client of the same class that asks the cache first, and the vendor through the given one.

    Answers come in the vendor's own types, with usage marked as cached. What the cache does not know (other endpoints,
    tools' results, images) passes through, and so do the vendor's errors. The given client is not changed, and shares
    its connections with the wrapped one.

    A client that awaits takes a ``Cache``, any other a ``SyncCache``. The other arguments are those of ``Request``, and
    ``controls`` what is asked of the cache; they are for all requests of the wrapped client. Wrap again to change
    them. OpenAI's and Anthropic's clients may say more in each request: ``extra_headers`` with
    ``Cache-Control``, ``X-Yamabiko-Tenant``, ``-User``, ``-Knowledge``, ``-Category`` and ``-Tags``, which never leave.

    Raises ``ConfigurationError``.
    """
    wishes = Wishes(
        tenant=tenant,
        user=user,
        knowledge=knowledge,
        category=category,
        tags=tuple(tags),
        permissions=tuple(permissions),
        controls=controls,
    )
    given: Any = client
    if _is_bedrock(given):
        wrapped: Client = bedrock.wrapped(given, _fitting(cache, awaits=False), wishes)
        return wrapped
    for vendor, name, awaits in _CLIENTS:
        kind = getattr(sys.modules.get(vendor), name, None)
        if kind is not None and isinstance(given, kind):
            inner = given._client  # noqa: SLF001 - neither library has a public name for it
            held = _fitting(cache, awaits=awaits)
            wrapped = given.with_options(http_client=looking(inner, held, vendor, wishes))
            break
    else:
        raise ConfigurationError(f"wrap() takes clients of {_KNOWN}, not {type(client).__name__}")
    return wrapped


def _is_bedrock(client: Any) -> bool:
    botocore = sys.modules.get("botocore.client")
    if botocore is None or not isinstance(client, botocore.BaseClient):
        return False
    name = client.meta.service_model.service_name
    if name != bedrock.SERVICE:
        raise ConfigurationError(f"wrap() takes boto3's client of {bedrock.SERVICE}, not of {name}")
    return True


def _fitting(cache: Any, *, awaits: bool) -> Any:
    wanted: type[Cache | SyncCache] = Cache if awaits else SyncCache
    if not isinstance(cache, wanted):
        opened = "await open_cache()" if awaits else "open_sync_cache()"
        raise ConfigurationError(f"this client needs a {wanted.__name__}, from {opened}, not a {type(cache).__name__}")
    return cache
