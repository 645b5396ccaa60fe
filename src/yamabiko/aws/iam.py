"""Who we are to a MemoryDB or ElastiCache cluster with IAM authentication: a user name and a token of fifteen minutes.

A token is the URL of a presigned GET request, without its scheme, that nobody ever sends: the cluster checks the
signature instead of a password. botocore finds the AWS keys (environment, profiles, containers, instances), waits for
them and renews them; the token is signed here. botocore's own signer reads the clock itself, and with debug logging on
it writes every part of what it signs, signature and session token included, which would be a password in a log.

Sources: MemoryDB developer guide, "Authenticating with IAM" (read 2026-11-23); ElastiCache: AWS's sample
``elasticache-iam-auth-demo-app``, ``IAMAuthTokenRequest.java`` (read 2026-11-24); the signature: IAM user guide,
"Create a signed AWS API request", with query parameters.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib
import importlib.util
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import quote, urlencode

from yamabiko.errors import ConfigurationError, MissingExtra, StoreUnavailable

Service: TypeAlias = Literal["memorydb", "elasticache"]

_VALID_SECONDS = 900  # the longest that both services allow
_WAY_SECONDS = 10.0  # what is left to the way to the server, so that no token expires on it
_RENEWED_SECONDS = 600.0  # botocore gives no keys with less life than this in them, if it can help it
_JITTER_SECONDS = 60.0
_PAUSE_SECONDS = 2.0
_CONNECTION_SECONDS = 11 * 3600.0  # both services cut a connection after 12 hours

_CLUSTER = re.compile(r"[a-z0-9](-?[a-z0-9])*")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}")
_MENDED_BY_HAND = frozenset(  # by name, since not every version of botocore has them all
    {
        "ConfigNotFound",
        "ConfigParseError",
        "InvalidConfigError",
        "LoginError",
        "MissingDependencyException",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOError",
        "UnknownCredentialError",
    }
)
_PROVIDERS_RAISE = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)  # from files and answers
_CHAIN = (
    "environment variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a profile in ~/.aws (AWS_PROFILE), "
    "web identity, IAM Identity Center, the container's role, the instance's role"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """An AWS access key; ``session`` goes with it where it is temporary, and is empty where it isn't."""

    access: str
    secret: str = field(repr=False)
    session: str = field(repr=False, default="")


def connect_token(keys: Keys, *, service: Service, cluster: str, user: str, region: str, now: float) -> str:
    """The token that ``user`` shows to ``cluster``, valid for 900 seconds from ``now`` (UTC epoch, cut to a second).

    Source: Signature Version 4 in query parameters, for an empty body; the host is the cluster's name.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    parameters = {
        "Action": "connect",
        "User": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(_VALID_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    if keys.session:
        parameters["X-Amz-Security-Token"] = keys.session
    query = urlencode(sorted(parameters.items()), quote_via=quote, safe="-_.~")
    request = f"GET\n/\n{query}\nhost:{cluster}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    signed = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, signed.encode(), "sha256").hex()
    return f"{cluster}/?{urlencode(parameters, quote_via=quote, safe='-_.~')}&X-Amz-Signature={signature}"


@dataclass(frozen=True, slots=True)
class _Token:
    """A token, when it was made, and after how many seconds a new one is due."""

    text: str = field(repr=False)
    made_at: float
    due_seconds: float

    def usable(self, now: float) -> bool:
        """True when a server takes it. If the clock went back, it would say that the token is from the future."""
        return 0 <= now - self.made_at < _VALID_SECONDS - _WAY_SECONDS

    def due(self, now: float) -> bool:
        """True when it is time for a new one."""
        return now - self.made_at >= self.due_seconds


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there are no keys, when, and whether somebody has to do something about it."""

    reason: str
    at: float
    lasting: bool


class IamCredentials:
    """A user and the token of the moment, for every new connection to a cluster; needs ``pip install 'yamabiko[aws]'``.

    ``user`` is a user of the cluster's ACL with authentication type IAM, ``cluster`` the cluster's name (for
    ElastiCache the replication group's) and not its endpoint; both are taken in lower case, as the services keep them.
    ``region`` is the cluster's. ``profile`` names one in ``~/.aws`` instead of what the environment says. The AWS
    identity found needs ``memorydb:Connect`` (``elasticache:Connect``) on the cluster and on the user.

    One token serves all connections for nine to ten minutes of its fifteen. Then a new one is made in a thread, one for
    everybody who asks; meanwhile, and while that fails, the old one is given out until it expires. ``clock`` (seconds,
    UTC epoch) and ``jitter`` (a float in [0, 1)) stand in for time and chance.

    Raises ``ConfigurationError`` and ``MissingExtra``. Keys and tokens are never in a message, a log or a ``repr`` of
    ours; botocore's own log, at level DEBUG, holds what the server of a role has answered.
    """

    def __init__(
        self,
        *,
        user: str,
        cluster: str,
        region: str,
        service: Service = "memorydb",
        profile: str | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._user = _user(user)
        self._cluster = _cluster(cluster)
        self._region = _region(region)
        self._service = _service(service)
        self._profile = profile or None
        self._clock = clock
        self._jitter = jitter
        if importlib.util.find_spec("botocore") is None:
            raise MissingExtra("aws", "IAM authentication")
        self._found: Any = None
        self._token: _Token | None = None
        self._failure: _Failure | None = None
        self._renewal: Future[None] | None = None
        self._one_at_a_time = threading.Lock()

    def __repr__(self) -> str:
        """Everything but the secrets."""
        named = f"service={self._service!r}, cluster={self._cluster!r}, user={self._user!r}, region={self._region!r}"
        return f"IamCredentials({named})"

    @property
    def max_connection_seconds(self) -> float:
        """11 hours: an hour before the services cut a connection that was authenticated by IAM."""
        return _CONNECTION_SECONDS

    async def current(self) -> tuple[str, str]:
        """User and token. Waits only where no usable token is there.

        Raises ``StoreUnavailable`` when there is none and none can be had now, and ``ConfigurationError`` when there
        never was one and waiting won't help. After a failure nothing is tried again for two seconds.
        """
        token, now = self._token, self._clock()
        if token is not None and token.usable(now):
            if token.due(now):
                self._renewing(now)
            return self._user, token.text
        if (renewal := self._renewing(now)) is not None:
            await asyncio.wrap_future(renewal)  # who goes away meanwhile cancels nothing: it is running already
        token = self._token
        if token is None or not token.usable(self._clock()):
            raise self._unavailable(token)
        return self._user, token.text

    def _renewing(self, now: float) -> Future[None] | None:
        """The renewal that is under way, or a new one; None shortly after a failure.

        A thread of its own, and a daemon: neither the program's end nor a shared pool waits for a server that hangs.
        """
        with self._one_at_a_time:
            if self._renewal is not None and not self._renewal.done():
                return self._renewal
            if self._failure is not None and 0 <= now - self._failure.at < _PAUSE_SECONDS:
                return None
            renewal: Future[None] = Future()
            renewal.set_running_or_notify_cancel()
            thread = threading.Thread(target=self._renew, args=(renewal,), name="yamabiko-iam", daemon=True)
            thread.start()
            self._renewal = renewal
            return renewal

    def _renew(self, renewal: Future[None]) -> None:
        """In the thread: find keys, sign, and let everybody go on."""
        try:
            found = self._keys()
            if isinstance(found, Keys):
                self._token, self._failure = self._signed(found), None
            else:
                self._failure = found
        finally:
            renewal.set_result(None)

    def _signed(self, keys: Keys) -> _Token:
        """A token made now; a fleet that started together does not renew together."""
        now = float(int(self._clock()))
        text = connect_token(
            keys, service=self._service, cluster=self._cluster, user=self._user, region=self._region, now=now
        )
        return _Token(text, made_at=now, due_seconds=_RENEWED_SECONDS - _JITTER_SECONDS * self._jitter())

    def _keys(self) -> Keys | _Failure:
        """Keys as they stand now. What renews itself is kept; what doesn't (variables, files) is read anew each time.

        No text of a failure that waiting may heal is passed on: some quote a server's whole answer, with keys in it.
        """
        errors, parsers, credentials = (
            importlib.import_module(f"botocore.{name}") for name in ("exceptions", "parsers", "credentials")
        )
        try:
            if not isinstance(self._found, credentials.RefreshableCredentials):
                self._found = self._session().get_credentials()
            if self._found is None:
                return self._failed(f"no AWS credentials were found in any of: {_CHAIN}", lasting=True)
            frozen = self._found.get_frozen_credentials()
            return Keys(frozen.access_key, frozen.secret_key, frozen.token or "")
        except errors.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "no code")
            return self._failed(f"{error.operation_name} was refused: {code}", lasting=False)
        except (errors.BotoCoreError, parsers.ResponseParserError, *_PROVIDERS_RAISE) as error:
            if _MENDED_BY_HAND.isdisjoint(kind.__name__ for kind in type(error).__mro__):
                return self._failed(f"looking for AWS credentials ended in {type(error).__name__}", lasting=False)
            return self._failed(str(error), lasting=True)

    def _failed(self, reason: str, *, lasting: bool) -> _Failure:
        return _Failure(reason, self._clock(), lasting)

    def _session(self) -> Any:
        """botocore's, with our region for whoever it asks for a role, unless its own configuration names one."""
        session = importlib.import_module("botocore.session").Session(profile=self._profile)
        if session.get_config_variable("region") is None:
            session.set_config_variable("region", self._region)
        return session

    def _unavailable(self, token: _Token | None) -> ConfigurationError | StoreUnavailable:
        """What the last failure means to whoever waits for a token. ``token`` is the one that has expired, if any."""
        failure = self._failure
        reason = "the renewal broke off" if failure is None else failure.reason
        if token is None and failure is not None and failure.lasting:
            return ConfigurationError(
                f"IAM authentication needs AWS credentials that allow {self._service}:Connect "
                f"on the cluster and the user: {reason}"
            )
        state = "there is no token yet" if token is None else "the token has expired"
        return StoreUnavailable(
            f"IAM authentication as {self._user} to {self._cluster}: {state} and a new one can't be made: {reason}"
        )


def _user(user: str) -> str:
    """In lower case. Raises ``ConfigurationError``."""
    if not user or user.split() != [user]:
        raise ConfigurationError(
            "IAM authentication needs the user of the cluster's ACL: memorydb://USER@host?auth=iam, without a password"
        )
    return user.lower()


def _cluster(cluster: str) -> str:
    """In lower case. Raises ``ConfigurationError``, for an endpoint too."""
    name = cluster.lower()
    if not _CLUSTER.fullmatch(name):
        given = f"not {cluster!r}" if cluster else "which the URL does not tell"
        raise ConfigurationError(
            f"IAM authentication needs the cluster's name, {given}: add cluster_name=NAME to the URL "
            "(the console shows it; in an endpoint it is the part after clustercfg)"
        )
    return name


def _region(region: str) -> str:
    """As it is. Raises ``ConfigurationError``, for an availability zone too."""
    if not _REGION.fullmatch(region):
        given = f"not {region!r}" if region else "which the URL does not tell"
        raise ConfigurationError(
            f"IAM authentication needs the cluster's region, {given}: add region=REGION to the URL, "
            "such as region=ap-northeast-1"
        )
    return region


def _service(service: Service) -> Service:
    """As it is. Raises ``ConfigurationError``."""
    if service not in get_args(Service):
        raise ConfigurationError(f"service must be one of {', '.join(get_args(Service))}, not {service!r}")
    return service
