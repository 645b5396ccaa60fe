"""What botocore raises, in the words of ``yamabiko.errors``: codes and operations, never a message of the service.

Such a message may quote what was sent ("Malformed input request: ..."), and botocore's own names the value that does
not fit; neither is kept, nor chained. What to do about a code stands in ``docs/bedrock.md``.

Source: the API reference's "Errors" of InvokeModel, Converse, Retrieve and RetrieveAndGenerate (read 2026-11).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, TypeVar

from yamabiko.errors import ConfigurationError, ServiceError, ServiceUnavailable, YamabikoError

T = TypeVar("T")

_PASSING = frozenset(
    {
        "BadGatewayException",
        "DependencyFailedException",
        "InternalServerException",
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
        "ServiceUnavailableException",
        "ThrottlingException",
    }
)
_PASSING_STATUSES = frozenset({408, 424, 429, 500, 502, 503, 504})
_SET_WRONG = frozenset(  # by name, since not every version of botocore has them all
    {
        "ConfigNotFound",
        "ConfigParseError",
        "EndpointProviderError",
        "InvalidConfigError",
        "InvalidRegionError",
        "LoginError",
        "MissingDependencyException",
        "NoCredentialsError",
        "NoRegionError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOError",
        "UnknownCredentialError",
    }
)
_WHAT_TO_DO = MappingProxyType(
    {
        "AccessDeniedException": "allow the action on the model or inference profile, and model access in the account",
        "ResourceNotFoundException": "check the id and the region; some models need an inference profile's id",
        "ServiceQuotaExceededException": "ask for a higher quota, or for less at a time",
        "ThrottlingException": "ask for a higher quota, or for less at a time",
        "UnrecognizedClientException": "check the credentials",
        "ExpiredTokenException": "renew the credentials",
        "InvalidSignatureException": "check the credentials and the clock",
        "ValidationException": "it does not fit the model, or the model has to be asked through an inference profile",
    }
)


class Refusals:
    """Maps what a client of one service raises."""

    def __init__(self, service: str) -> None:
        self._service = service

    def mapped(self, operation: str, work: Callable[[], T]) -> T:
        """What ``work`` returns. Raises ``ServiceError`` and ``ConfigurationError``, with nothing chained to them."""
        core = importlib.import_module("botocore.exceptions")
        told: YamabikoError
        try:
            return work()
        except core.ClientError as error:
            told = self._refused(operation, error.response)
        except core.ParamValidationError:
            what = "the request has a field that the operation does not know, lacks, or has of another type"
            told = ServiceError(f"{self._service} {operation}: {what}", code="ParamValidation")
        except core.BotoCoreError as error:
            told = self._failed(operation, error)
        except _broken() as error:
            told = self._unavailable(operation, error)
        raise told

    def _refused(self, operation: str, response: Any) -> ServiceError:
        error, about = response.get("Error", {}), response.get("ResponseMetadata", {})
        code, status = str(error.get("Code", "")), int(about.get("HTTPStatusCode") or 0)
        code = code[:1].upper() + code[1:] or "Unknown"  # events of a stream begin theirs with a small letter
        passing = code in _PASSING or status in _PASSING_STATUSES
        hint = _WHAT_TO_DO.get(code, "try again later" if passing else "see the API reference")
        request = about.get("RequestId", "")
        place = f"{self._service} {operation}" + (f" (request {request:.60})" if request else "")
        message = f"{place} was refused: {code:.80}" + (f", status {status}" if status else "") + f"; {hint}"
        return (ServiceUnavailable if passing else ServiceError)(message, code=code, status=status)

    def _failed(self, operation: str, error: Exception) -> YamabikoError:
        """A failure of the client: wrongly set, or out of reach. Its words hold no part of a request."""
        names = {kind.__name__ for kind in type(error).__mro__}
        if _SET_WRONG.isdisjoint(names):
            return self._unavailable(operation, error)
        return ConfigurationError(
            f"{self._service} needs a region (region=, AWS_REGION or the profile's) and AWS credentials "
            f"(environment, profile, container's or instance's role): {error}"
        )

    def _unavailable(self, operation: str, error: Exception) -> ServiceUnavailable:
        name = type(error).__name__
        return ServiceUnavailable(f"{self._service} {operation} broke off: {name}; try again later", code=name)


def _broken() -> tuple[type[Exception], ...]:
    """What reading an answer raises besides botocore's own: broken connections, damaged events, no JSON."""
    return (
        importlib.import_module("urllib3.exceptions").HTTPError,
        importlib.import_module("botocore.eventstream").ParserError,
        importlib.import_module("botocore.parsers").ResponseParserError,
        OSError,
    )
