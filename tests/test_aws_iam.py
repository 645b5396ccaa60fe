import asyncio
import json
import logging
import os
import re
import sys
import threading
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
import pytest
import redis.asyncio
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.signers import RequestSigner
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.certificates import Certificates
from engines.guard import Guard, Iam
from engines.tokens import Secret, refusal
from yamabiko.aws.iam import IamCredentials, Keys, connect_token
from yamabiko.errors import ConfigurationError, MissingExtra, StoreUnavailable
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.connection import Connection
from yamabiko.testing import FakeClock

NOW = 1_795_500_000.0  # 2026-11-24T01:20:00Z
WHERE = {"cluster": "semantic-cache", "region": "ap-northeast-1"}
ACCESS, SECRET, SESSION = "AKIAEXAMPLE", "a/secret+that/nobody+sees", "a/session+that/nobody+sees=="
KEYS = Keys(ACCESS, SECRET, SESSION)
SECRETS = {ACCESS: Secret(SECRET, SESSION)}


def token_of(keys=KEYS, *, user="cache-app", now=NOW, service="memorydb", **where):
    return connect_token(keys, user=user, now=now, service=service, **{**WHERE, **where})


def refused(token, user="cache-app", *, now=NOW, secrets=SECRETS, **where):
    return refusal(token, user, now=now, secrets=secrets, **{**WHERE, **where})


def botocores(keys, *, user, cluster, region, service):
    session = botocore.session.Session()
    signer = RequestSigner(
        ServiceId(service),
        region,
        service,
        "v4",
        Credentials(keys.access, keys.secret, keys.session or None),
        session.get_component("event_emitter"),
    )
    request = {"method": "GET", "url": f"https://{cluster}/", "body": {"Action": "connect", "User": user}}
    url = signer.generate_presigned_url({**request, "headers": {}, "context": {}}, "connect", 900, region)
    return url.removeprefix("https://")


def made_at(token):
    date = re.search("X-Amz-Date=([0-9TZ]+)", token)[1]
    return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


# The token itself


def test_a_token_is_this_text():
    expected = (
        "semantic-cache/?Action=connect&User=cache-app&X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIDEXAMPLE%2F20261124%2Fap-northeast-1%2Fmemorydb%2Faws4_request"
        "&X-Amz-Date=20261124T101357Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host"
        "&X-Amz-Security-Token=sess%2Bion%3D%3D"
        "&X-Amz-Signature=2c9e08065b2edb519ebef958c55d14d85275aa871af2436d6a199a29dcf87e41"
    )  # made by botocore 1.44.5
    moment = datetime(2026, 11, 24, 10, 13, 57, 900_000, tzinfo=UTC).timestamp()
    assert token_of(Keys("AKIDEXAMPLE", "sec/ret", "sess+ion=="), now=moment) == expected


@settings(max_examples=40, deadline=None)
@given(
    keys=st.builds(
        Keys,
        st.from_regex("[A-Z0-9]{16,20}", fullmatch=True),
        st.text("abcXYZ019+/=", min_size=20, max_size=40),
        st.text("abcXYZ019+/=%& ~", max_size=60),
    ),
    where=st.fixed_dictionaries(
        {
            "cluster": st.from_regex("[a-z]([a-z0-9]|-[a-z0-9]){0,15}", fullmatch=True),
            "region": st.sampled_from(["us-east-1", "us-gov-west-1", "eu-central-2", "cn-north-1"]),
            "service": st.sampled_from(["memorydb", "elasticache"]),
        }
    ),
    user=st.from_regex("[a-z][a-z0-9._~@-]{0,20}", fullmatch=True),
)
def test_botocore_signs_the_same_and_the_cluster_lets_it_in(keys, where, user):
    theirs = botocores(keys, user=user, **where)
    assert connect_token(keys, user=user, now=made_at(theirs), **where) == theirs
    secrets = {keys.access: Secret(keys.secret, keys.session or None)}
    assert refusal(theirs, user, secrets=secrets, now=made_at(theirs) + 899, **where) is None


@pytest.mark.parametrize(
    ("reason", "token", "asked"),
    [
        ("expired", token_of(now=NOW - 900), {}),
        ("from the future", token_of(now=NOW + 301), {}),
        ("not for this user", token_of(), {"user": "somebody-else"}),
        ("not for this user", token_of(user="Cache-App"), {"user": "Cache-App"}),
        ("not for this cluster", token_of(), {"cluster": "semantic-cache-2"}),
        ("not for this day, region and service", token_of(), {"region": "us-east-1"}),
        ("not for this day, region and service", token_of(), {"service": "elasticache"}),
        ("not for this day, region and service", token_of().replace("20261124T", "20261123T"), {"now": NOW - 86_400}),
        ("an unknown access key", token_of(), {"secrets": {}}),
        ("not signed with this key", token_of(), {"secrets": {ACCESS: Secret("another", SESSION)}}),
        ("not the session of this access key", token_of(), {"secrets": {ACCESS: Secret(SECRET, "another")}}),
        ("not the session of this access key", token_of(), {"secrets": {ACCESS: Secret(SECRET)}}),
        ("not the session of this access key", token_of(Keys(ACCESS, SECRET)), {}),
        ("not for connecting", token_of().replace("=connect", "=delete"), {}),
        ("valid for too long", token_of().replace("Expires=900", "Expires=901"), {}),
        ("valid for too long", token_of().replace("Expires=900", "Expires=x"), {}),
        ("no date", token_of().replace("X-Amz-Date=2026", "X-Amz-Date=then"), {}),
        ("signed in another way", token_of().replace("SHA256", "SHA1"), {}),
        ("signed in another way", token_of().replace("=host", "=date"), {}),
        ("not the parameters that belong in a token", token_of() + "&User=cache-app", {}),
        ("not the parameters that belong in a token", token_of() + "&More=", {}),
        ("not the parameters that belong in a token", token_of().replace("Action=connect&", ""), {}),
        ("not encoded as it should be", token_of().replace("%2F", "%2f"), {}),
        ("not for this cluster", "a password", {}),
        ("not for this cluster", "", {}),
    ],
)
def test_the_cluster_refuses(reason, token, asked):
    assert refused(token_of()) is None
    assert refused(token, **asked) == reason


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_token_with_one_change_is_refused(data):
    token = token_of()
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=2))
    changed = token[:at] + put + token[at + 1 :]
    assert (refused(changed) is None) == (changed == token)


# Keys from where AWS keeps them; nothing of the machine's own


@pytest.fixture(autouse=True)
def aws(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("AWS_", "BOTO")) or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("BOTO_CONFIG", str(tmp_path / "boto"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def profile(folder, access=ACCESS, name="default"):
    lines = [
        f"[{name}]",
        f"aws_access_key_id={access}",
        f"aws_secret_access_key={SECRET}",
        f"aws_session_token={SESSION}",
    ]
    (folder / "credentials").write_text("\n".join(lines))


def credentials(clock=None, **options):
    return IamCredentials(
        **{"user": "cache-app", **WHERE, "clock": clock or FakeClock(NOW), "jitter": lambda: 0.0, **options}
    )


async def another(iam, old):
    """The first token that is not the old one any more."""
    async with asyncio.timeout(20):
        while (token := (await iam.current())[1]) == old:  # noqa: ASYNC110 - a user has nothing else to wait for
            await asyncio.sleep(0)
        return token


class KeyServer:
    """What hands out keys to containers, instances and roles: a new session each time."""

    def __init__(self):
        self.asked = 0
        self.signed_for = ""
        self.denies = False
        self.babbles = False
        self.reached = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def session(self, number):
        return f"{SESSION}{number}"

    def answer(self, path):
        if path.endswith("/api/token"):
            return "a-token-for-the-instance"
        if path.endswith("/security-credentials/"):
            return "a-role"
        if self.denies:
            return f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{SECRET}</Message></Error></ErrorResponse>"
        if self.babbles:
            return SECRET
        self.asked += 1
        session = self.session(self.asked)
        self.reached.set()
        self.open.wait(20)
        expires = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        keys = {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "Token": session, "Expiration": expires}
        if not path.startswith("/sts"):
            return json.dumps(keys)
        tags = "".join(f"<{name}>{value}</{name}>" for name, value in {**keys, "SessionToken": session}.items())
        return f"<R><AssumeRoleResult><Credentials>{tags}</Credentials></AssumeRoleResult></R>"


@contextmanager
def key_server():
    keys = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = keys.answer(self.path).encode()
            self.send_response(403 if keys.denies else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_PUT(self):
            self.do_GET()

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.signed_for = self.headers["Authorization"]
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        keys.url = f"http://127.0.0.1:{server.server_port}"
        yield keys
    finally:
        keys.open.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def container(monkeypatch):
    with key_server() as keys:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{keys.url}/keys")
        yield keys


def accepts(keys, token, number, now):
    return refused(token, now=now, secrets={ACCESS: Secret(SECRET, keys.session(number))}) is None


def test_keys_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert asyncio.run(credentials().current()) == ("cache-app", token_of(Keys(ACCESS, SECRET)))
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    assert asyncio.run(credentials().current()) == ("cache-app", token_of())


def test_keys_come_from_the_profile_that_is_named(aws, monkeypatch):
    profile(aws, name="night")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    assert asyncio.run(credentials(profile="night").current()) == ("cache-app", token_of())
    monkeypatch.setenv("AWS_PROFILE", "night")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert asyncio.run(credentials().current()) == ("cache-app", token_of())


def test_keys_come_from_the_container(container):
    user, token = asyncio.run(credentials().current())
    assert user == "cache-app"
    assert token == token_of(Keys(ACCESS, SECRET, container.session(container.asked)))


def test_keys_come_from_the_instance(monkeypatch):
    with key_server() as keys:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", keys.url)
        _, token = asyncio.run(credentials().current())
    assert token == token_of(Keys(ACCESS, SECRET, keys.session(keys.asked)))


@pytest.fixture
def role(aws, monkeypatch):
    with key_server() as keys:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{keys.url}/sts")
        profile(aws)
        (aws / "config").write_text(
            "[profile role]\nrole_arn=arn:aws:iam::123456789012:role/r\nsource_profile=default\n"
        )
        yield keys


def test_a_role_is_asked_for_in_the_cluster_s_region(role, monkeypatch):
    _, token = asyncio.run(credentials(profile="role").current())
    assert token == token_of(Keys(ACCESS, SECRET, role.session(role.asked)))
    assert "/ap-northeast-1/sts/" in role.signed_for
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    asyncio.run(credentials(profile="role").current())
    assert "/eu-west-1/sts/" in role.signed_for


def test_a_role_that_is_denied_says_so(role):
    role.denies = True
    with pytest.raises(StoreUnavailable, match="AssumeRole was refused: AccessDenied") as caught:
        asyncio.run(credentials(profile="role").current())
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_answer_that_makes_no_sense_is_not_repeated(role, capfd):
    role.babbles = True
    with pytest.raises(StoreUnavailable, match="ResponseParserError") as caught:
        asyncio.run(credentials(profile="role").current())
    assert SECRET not in "".join([*traceback.format_exception(caught.value), *capfd.readouterr()])


def test_elasticache_has_the_same_tokens_under_its_own_name(aws):
    profile(aws)
    _, token = asyncio.run(credentials(service="elasticache").current())
    assert refused(token, service="elasticache") is None
    assert refused(token) == "not for this day, region and service"


def test_names_are_taken_in_lower_case(aws):
    profile(aws)
    assert asyncio.run(credentials(user="Cache-App", cluster="Semantic-Cache").current()) == ("cache-app", token_of())


# Renewal


def test_a_token_serves_everybody_until_a_new_one_is_due_and_the_new_one_is_made_behind(container):
    clock = FakeClock(NOW)
    iam = credentials(clock)

    async def go():
        _, first = await iam.current()
        asked = container.asked
        clock.advance(599)
        assert {token for _, token in [await iam.current() for _ in range(50)]} == {first}
        assert container.asked == asked
        container.open.clear()  # the next keys take their time, and nobody waits for them
        clock.advance(1)
        assert {token for _, token in [await iam.current() for _ in range(50)]} == {first}
        container.open.set()
        second = await another(iam, first)
        assert container.asked == asked + 1
        assert accepts(container, second, container.asked, clock())
        assert accepts(container, second, container.asked, clock() + 899)

    asyncio.run(go())


@pytest.mark.parametrize(("jitter", "due"), [(0.0, 600), (0.5, 570), (0.75, 555)])
def test_a_fleet_does_not_renew_together(aws, jitter, due):
    profile(aws)
    clock = FakeClock(NOW)
    iam = credentials(clock, jitter=lambda: jitter)

    async def go():
        _, first = await iam.current()
        clock.now = NOW + due - 0.01
        assert await iam.current() == ("cache-app", first)
        profile(aws, access="AKIANEXT")
        clock.now = NOW + due
        assert "AKIANEXT" in await another(iam, first)

    asyncio.run(go())


def test_all_who_wait_share_one_renewal_and_the_loop_goes_on(container):
    iam = credentials()
    container.open.clear()

    async def go():
        waiting = [asyncio.create_task(iam.current()) for _ in range(20)]
        assert await asyncio.to_thread(container.reached.wait, 20)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert not any(task.done() for task in waiting[1:])
        container.open.set()
        return await asyncio.gather(*waiting[1:])

    tokens = {token for _, token in asyncio.run(go())}
    assert len(tokens) == 1
    assert accepts(container, tokens.pop(), container.asked, NOW)


def test_two_event_loops_share_one_renewal(container):
    iam = credentials()
    container.open.clear()
    found = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(iam.current()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    container.open.set()
    for thread in threads:
        thread.join(20)
    assert len(found) == 3
    assert len(set(found)) == 1


def test_who_gives_up_early_leaves_a_token_for_the_next(container):
    iam = credentials()
    container.open.clear()

    async def impatient():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await iam.current()

    asyncio.run(impatient())
    container.open.set()
    _, token = asyncio.run(iam.current())
    assert accepts(container, token, container.asked, NOW)


def test_a_clock_that_went_back_makes_a_new_token(aws):
    clock = FakeClock(NOW)
    iam = credentials(clock)
    with pytest.raises(ConfigurationError):
        asyncio.run(iam.current())
    profile(aws)
    for now in (NOW - 3600, NOW - 3600.5, NOW - 7200):
        clock.now = now
        assert asyncio.run(iam.current()) == ("cache-app", token_of(now=now))


def test_a_failure_of_the_past_holds_nothing_up(aws):
    clock = FakeClock(NOW)
    iam = credentials(clock)
    with pytest.raises(ConfigurationError):
        asyncio.run(iam.current())
    profile(aws)
    clock.now = NOW + 2
    asyncio.run(iam.current())
    clock.now = NOW + 1  # the clock went back, to before the token and shortly after the failure
    assert asyncio.run(iam.current()) == ("cache-app", token_of(now=NOW + 1))


def test_a_token_lives_from_the_beginning_of_its_second(aws):
    profile(aws)
    clock = FakeClock(NOW + 0.9)
    iam = credentials(clock)
    _, first = asyncio.run(iam.current())
    assert first == token_of(now=NOW)
    clock.now = NOW + 890
    assert asyncio.run(iam.current()) == ("cache-app", token_of(now=NOW + 890))


def test_while_renewal_fails_the_old_token_serves_until_it_expires_and_then_the_store_is_unavailable(aws):
    profile(aws)
    clock = FakeClock(NOW)
    iam = credentials(clock)

    async def go():
        first = await iam.current()
        (aws / "credentials").unlink()
        for seconds in (600, 700, 889.9):
            clock.now = NOW + seconds
            assert await iam.current() == first
        clock.now = NOW + 890
        with pytest.raises(
            StoreUnavailable, match=r"as cache-app to semantic-cache: the token has expired .*AWS_PROFILE"
        ):
            await iam.current()
        profile(aws)
        clock.advance(1.9)  # shortly after a failure nothing is tried
        with pytest.raises(StoreUnavailable):
            await iam.current()
        clock.advance(0.2)
        assert await iam.current() == ("cache-app", token_of(now=clock()))

    asyncio.run(go())


def process(folder, script):
    (folder / "keys.py").write_text(script)
    (folder / "config").write_text(f"[default]\ncredential_process={sys.executable} {folder / 'keys.py'}\n")


def test_a_source_of_keys_that_fails_for_now_is_an_unavailable_store_and_its_answer_stays_here(aws):
    process(
        aws,
        f"import sys; print('{{\"SecretAccessKey\": \"{SECRET}\"'); print('{SECRET}', file=sys.stderr); sys.exit(1)",
    )
    with pytest.raises(StoreUnavailable, match=r"no token yet .* CredentialRetrievalError") as caught:
        asyncio.run(credentials().current())
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    process(aws, f'print(\'{{"SecretAccessKey": "{SECRET}"\')')  # and an answer that breaks off
    with pytest.raises(StoreUnavailable, match=r"no token yet .* JSONDecodeError") as caught:
        asyncio.run(credentials().current())
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# What only a person can mend


def test_no_keys_anywhere_names_the_places():
    with pytest.raises(
        ConfigurationError, match=r"memorydb:Connect.*AWS_ACCESS_KEY_ID.*AWS_PROFILE.*container.*instance"
    ):
        asyncio.run(credentials().current())


def test_keys_that_appear_later_are_found(aws):
    clock = FakeClock(NOW)
    iam = credentials(clock)
    with pytest.raises(ConfigurationError):
        asyncio.run(iam.current())
    profile(aws)
    clock.advance(2)
    assert asyncio.run(iam.current()) == ("cache-app", token_of(now=NOW + 2))


def test_a_profile_that_is_not_there_or_half_there_is_named(aws, monkeypatch):
    with pytest.raises(ConfigurationError, match="night"):
        asyncio.run(credentials(profile="night").current())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    with pytest.raises(ConfigurationError, match="AWS_SECRET_ACCESS_KEY"):
        asyncio.run(credentials().current())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (aws / "config").write_text("[default]\nsso_session=home\nsso_account_id=1\nsso_role_name=reader\n")
    with pytest.raises(ConfigurationError, match="sso-session does not exist"):
        asyncio.run(credentials().current())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"user": ""}, r"memorydb://USER@host\?auth=iam"),
        ({"user": "two words"}, "USER@host"),
        ({"cluster": ""}, "cluster_name=NAME"),
        ({"cluster": "clustercfg.c.abc.memorydb.eu-west-1.amazonaws.com"}, "not 'clustercfg.*part after clustercfg"),
        ({"cluster": "a/b"}, "cluster_name=NAME"),
        ({"region": ""}, "region=ap-northeast-1"),
        ({"region": "eu-west-1a"}, "not 'eu-west-1a'"),
        ({"region": "Tokyo"}, "region=REGION"),
        ({"service": "redis"}, "memorydb, elasticache"),
    ],
)
def test_what_is_missing_or_wrong_says_how_to_give_it(options, says):
    with pytest.raises(ConfigurationError, match=says):
        credentials(**options)


def test_without_botocore_the_install_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(MissingExtra, match=r"pip install 'yamabiko\[aws\]'"):
        credentials()


def test_nothing_secret_is_ever_written(container, caplog):
    caplog.set_level(logging.DEBUG)
    clock = FakeClock(NOW)
    iam = credentials(clock)
    tokens = []
    for _ in range(3):
        tokens.append(asyncio.run(iam.current())[1])
        clock.advance(901)
    shown = caplog.text + repr(iam) + repr(vars(iam)) + repr(KEYS)
    assert "semantic-cache" in repr(iam)
    for hidden in (SECRET, *(token.rpartition("=")[2] for token in tokens), *map(container.session, range(1, 5))):
        assert hidden not in shown


def test_a_connection_is_given_eleven_of_its_twelve_hours():
    assert credentials().max_connection_seconds == 39_600


# Before a server that asks for tokens


class Provider(redis.CredentialProvider):
    """What a program of somebody else's would write to use our tokens with redis-py."""

    def __init__(self, iam):
        self.get_credentials_async = iam.current


class Always:
    """A user and a token that somebody keeps."""

    max_connection_seconds = None

    def __init__(self, user, token):
        self.said = user, token

    async def current(self):
        return self.said


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def guard(aws, engine, clock):
    profile(aws)
    certificates = Certificates.make(aws / "certificates")
    iam = Iam(WHERE["cluster"], WHERE["region"], SECRETS, users={"cache-app"})
    with Guard(engine, certificates=certificates, clock=clock, iam=iam) as guard:
        yield guard


def client(guard, iam):
    return redis.asyncio.Redis(
        host="localhost",
        port=guard.port,
        protocol=2,
        ssl=True,
        ssl_ca_certs=str(guard.certificates.authority),
        credential_provider=Provider(iam),
        retry=None,
        retry_on_error=[],
    )


async def connected(guard, iam):
    login = "auth=iam&cluster_name={cluster}&region={region}&cluster=false".format_map(WHERE)
    address = Address.parse(f"{guard.url}&{login}".replace("//", "//cache-app@", 1))
    return await Connection.open(address, credentials=iam, timeout_seconds=10)


def test_redis_py_is_let_in_while_the_token_is_good_and_again_after_it_is_renewed(guard, clock):
    iam = credentials(clock)

    async def go():
        old = await iam.current()
        clock.advance(899)
        async with client(guard, Always(*old)) as first:
            assert await first.ping()
            clock.advance(1)
            assert await first.ping()  # a token opens connections: those that are open stay
        async with client(guard, Always(*old)) as late, client(guard, Always("root", old[1])) as other:
            for refused_client in (late, other):
                with pytest.raises(redis.AuthenticationError):
                    await refused_client.ping()
        async with client(guard, iam) as renewed:
            assert await renewed.ping()

    asyncio.run(go())
    assert guard.logins == [
        ("cache-app", None),
        ("cache-app", "expired"),
        ("root", "no such user"),
        ("cache-app", None),
    ]


def test_a_token_of_somebody_else_or_for_somewhere_else_is_refused_at_opening(guard, clock):
    async def go():
        for options in ({"user": "other"}, {"cluster": "another-cluster"}, {"region": "us-east-1"}):
            _, token = await credentials(clock, **options).current()
            with pytest.raises(ConfigurationError, match="refuses these credentials") as caught:
                await connected(guard, Always("cache-app", token))
            assert token not in "".join(traceback.format_exception(caught.value))

    asyncio.run(go())
    reasons = ["not for this user", "not for this cluster", "not for this day, region and service"]
    assert guard.logins == [("cache-app", reason) for reason in reasons]


def test_a_server_that_finds_no_keys_is_told_from_one_that_is_away(guard, aws, clock):
    (aws / "credentials").unlink()

    async def go():
        with pytest.raises(ConfigurationError, match="no AWS credentials were found"):
            await connected(guard, credentials(clock))
        process(aws, "raise SystemExit(1)")
        with pytest.raises(StoreUnavailable, match="no token yet"):
            await connected(guard, credentials(clock))

    asyncio.run(go())
    assert guard.logins == []


def test_a_connection_that_is_kept_too_long_is_cut_and_the_store_comes_back_with_a_new_token(guard, clock):
    iam = credentials(clock)

    async def go():
        connection = await connected(guard, iam)
        try:
            assert await connection.command("PING") == b"PONG"
            clock.advance(12 * 3600)  # the loop has seen nothing of it, so that nothing was replaced
            with pytest.raises(StoreUnavailable):
                await connection.command("PING")
            assert await connection.command("PING") == b"PONG"
        finally:
            await connection.close()

    asyncio.run(go())
    assert guard.logins == [("cache-app", None)] * len(guard.logins)
    assert len(guard.logins) == 2


def test_a_connection_is_replaced_before_it_is_cut(guard, clock):
    iam = credentials(clock)

    async def go():
        loop = asyncio.get_running_loop()
        hours, real = 0, loop.time
        loop.time = lambda: real() + hours * 3600
        connection = await connected(guard, iam)
        ages, begun = [], 0
        try:
            for hours in range(1, 37):
                clock.now = NOW + hours * 3600
                before = len(guard.logins)
                assert await connection.command("PING") == b"PONG"
                if len(guard.logins) > before:
                    ages.append(hours - begun)
                    begun = hours
        finally:
            await connection.close()
        return ages

    ages = asyncio.run(go())
    assert len(ages) == 3
    assert all(9 < age < 12 for age in ages)
    assert guard.logins == [("cache-app", None)] * 4
