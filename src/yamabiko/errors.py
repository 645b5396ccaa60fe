"""The error tree, sorted by what the caller can do.

::

    YamabikoError
    ├── ConfigurationError     change a setting, a URL or an argument
    │   └── MissingExtra       run the install command that the message prints
    ├── InvalidRequest         change the request
    ├── NotStored              ask without forbidding to ask a model; nothing that will do is stored
    ├── StoreError             the store said no
    │   ├── StoreUnavailable   try again later; look-ups have become misses meanwhile
    │   ├── StoreMismatch      the store was made by another embedder, dimension or version
    │   └── Outdated           nothing: answers were purged since this one was begun, so it is not stored
    ├── EmbeddingError         the embedder failed; look-ups are exact only meanwhile
    ├── ServiceError           a hosted service said no; ``code`` says why: change what is asked, or what is allowed
    │   └── ServiceUnavailable     throttled, failing, too slow or out of reach: try again later
    └── VerifierError          the verifier failed; what it was asked counts as "no"

What ``generate`` raises passes through untouched. No message holds a prompt or an answer.
"""

from __future__ import annotations


class YamabikoError(Exception):
    """Anything that Yamabiko raises itself."""


class ConfigurationError(YamabikoError):
    """A setting, URL or argument does not fit; the message says which and what would."""


class MissingExtra(ConfigurationError):
    """An optional part is not installed; the message holds the exact install command."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs an optional part: pip install 'yamabiko[{extra}]'")
        self.extra = extra


class InvalidRequest(YamabikoError):
    """The request can't be understood; the message says which field and what it should be."""


class NotStored(YamabikoError):
    """No stored answer will do, and the request forbids to ask a model (``Controls.forward``)."""

    def __init__(self) -> None:
        super().__init__("no stored answer will do, and the request forbids to ask a model")


class StoreError(YamabikoError):
    """The store could not do what it was asked."""


class StoreUnavailable(StoreError):
    """The store can't be reached, is full, locked or too slow: a look-up becomes a miss."""


class StoreMismatch(StoreError):
    """The store holds data of another embedder, dimension or format: never served, never overwritten."""


class Outdated(StoreError):
    """Answers were purged after this one was looked up: it may say what was to be forgotten, and is not stored."""

    def __init__(self) -> None:
        super().__init__("answers were purged after this was looked up")


class EmbeddingError(YamabikoError):
    """The embedder failed or was too slow: a look-up goes on without the semantic tier."""


class VerifierError(YamabikoError):
    """The verifier failed or was too slow: counts as "not the same answer"."""


class ServiceError(YamabikoError):
    """A hosted service refused. ``code`` is its own word (``ValidationException``), ``status`` of HTTP, 0 for none."""

    def __init__(self, message: str, *, code: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ServiceUnavailable(ServiceError):
    """A hosted service is throttling, failing, too slow or out of reach; the same call may do later."""
