"""What goes wrong: the service's own refusals, and failures that a test scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

STATUSES: Mapping[str, int] = {
    "AccessDeniedException": 403,
    "BadGatewayException": 502,
    "ConflictException": 409,
    "DependencyFailedException": 424,
    "InternalServerException": 500,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
"""HTTP status of each error. Source: botocore's service models (``httpStatusCode``) and the API references."""


class Refused(Exception):
    """The service says no: ``code`` is one of ``STATUSES``; ``message`` never holds a text of the request."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = STATUSES[code] if status is None else status


def invalid(message: str) -> Refused:
    """A ``ValidationException``."""
    return Refused("ValidationException", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One scripted failure, for ``BedrockStandIn.fail``. Make it with one of the three class methods.

    ``after_events`` is the number of events of a stream that still get through (>= 0); None means that the failure
    comes instead of the response.
    """

    code: str = ""
    status: int = 0
    message: str = ""
    after_events: int | None = None
    cuts: bool = False

    @classmethod
    def error(cls, code: str, message: str = "scripted failure", *, status: int | None = None) -> Self:
        """An HTTP error such as ``ThrottlingException``; ``status`` if not the one that belongs to the code."""
        return cls(code=code, status=STATUSES.get(code, 400) if status is None else status, message=message)

    @classmethod
    def mid_stream(cls, code: str, message: str = "scripted failure", *, after_events: int = 2) -> Self:
        """An exception event in mid-stream, such as ``modelStreamErrorException`` (lower-case first letter)."""
        return cls(code=code[:1].lower() + code[1:], message=message, after_events=after_events)

    @classmethod
    def cut(cls, *, after_events: int | None = None) -> Self:
        """The connection is closed: before any response, or after that many events of a stream."""
        return cls(cuts=True, after_events=after_events)

    def refusal(self) -> Refused:
        """The same as an HTTP error."""
        code = self.code[:1].upper() + self.code[1:]
        return Refused(code, self.message, status=self.status or STATUSES.get(code, 400))
