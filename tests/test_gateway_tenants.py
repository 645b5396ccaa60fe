"""Who calls: keys, proxies and upstream credentials; what each tenant may use; and that nobody sees another's answers."""

import asyncio
import hmac
import os
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstreams.processes import chat, running_gateway, running_upstream
from yamabiko import Policy, Request, open_cache
from yamabiko.errors import ConfigurationError
from yamabiko.gateway import keys as keys_module
from yamabiko.gateway.exchange import Caller, Exchange, Limits, Refused
from yamabiko.gateway.keys import Table, Trusted, hash_of, lines_for
from yamabiko.gateway.limits import Buckets, Rooms
from yamabiko.gateway.tenants import KeyFile, Tenants, credential, table_of
from yamabiko.settings import GatewaySettings
from yamabiko.testing import FakeClock

ACME, ALICE, BOB = "yamabiko-acme", "yamabiko-alice", "yamabiko-bob"
GLOBEX, SLOW, SMALL, NARROW = "yamabiko-globex", "yamabiko-slow", "yamabiko-small", "yamabiko-narrow"
OLD, ADMIN = "yamabiko-old", "yamabiko-admin"
LOOSE = Policy(max_error_rate=None, min_similarity=0.9)
LIMITS = """
[tenants.slow]
requests_per_minute = 2
[tenants.small]
cache_bytes = 0
[tenants.roomy]
cache_bytes = "1GiB"
[tenants.narrow]
models = ["m"]
[trusted]
peers = ["127.0.0.1/32"]
"""


def table_text():
    tenants = {ACME: "acme", GLOBEX: "globex", SLOW: "slow", SMALL: "small", NARROW: "narrow"}
    lines = [lines_for(key, tenant=tenant) for key, tenant in tenants.items()]
    lines += [lines_for(ALICE, tenant="acme", user="alice"), lines_for(BOB, tenant="acme", user="bob")]
    lines += [lines_for(OLD, tenant="acme", expires=datetime(2020, 1, 1, tzinfo=UTC))]
    lines += [lines_for(ADMIN, tenant="*", role="admin")]
    return "".join(lines) + LIMITS


def asked_with(*headers, client=("127.0.0.1", 1)):
    return {"headers": [(name.encode(), value.encode()) for name, value in headers], "client": client}


def bearer(key):
    return asked_with(("authorization", f"Bearer {key}"))


def tenants(text=None, **options):
    table = Table.parse(table_text() if text is None else text)
    return Tenants(lambda: table, **options)


def refusal(who, scope):
    with pytest.raises(Refused) as refused:
        who(scope)
    return refused.value.status, refused.value.code


class TestTheTable:
    def test_a_key_names_tenant_and_user(self):
        caller = tenants()(bearer(ALICE))
        assert (caller.tenant, caller.user, caller.apart) == ("acme", "alice", "")

    @pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-yamabiko-key"])
    def test_a_key_may_stand_where_each_sdk_puts_it(self, header):
        assert tenants()(asked_with((header, GLOBEX))).tenant == "globex"

    def test_a_key_of_ours_may_stand_beside_the_clients_own_for_the_upstream(self):
        scope = asked_with(("x-yamabiko-key", ACME), ("authorization", "Bearer sk-vendor"))
        assert tenants()(scope).tenant == "acme"

    @pytest.mark.parametrize("key", ["yamabiko-nobody", "sk-vendor", OLD, "", ACME + "x", ACME[:-1]])
    def test_whoever_is_not_in_the_table_is_refused(self, key):
        assert refusal(tenants(), bearer(key)) == (401, "invalid_api_key")

    def test_whoever_has_no_credential_is_refused(self):
        assert refusal(tenants(), asked_with()) == (401, "invalid_api_key")

    def test_two_different_keys_are_refused(self):
        scope = asked_with(("x-api-key", ACME), ("authorization", f"Bearer {GLOBEX}"))
        assert refusal(tenants(), scope) == (400, "two_keys")

    def test_an_admin_key_asks_no_model(self):
        assert refusal(tenants(), bearer(ADMIN)) == (403, "admin_key")

    @pytest.mark.parametrize("given", [ACME, ALICE, GLOBEX, ADMIN, "yamabiko-nobody"])
    def test_every_hash_is_compared_in_constant_time_whichever_fits(self, given, monkeypatch):
        compared = []

        def compare(one, other):
            compared.append((len(one), len(other)))
            return hmac.compare_digest(one, other)

        table = Table.parse(table_text())
        monkeypatch.setattr(keys_module, "compare_digest", compare)
        table.find(given.encode(), now=0.0)
        assert compared == [(32, 32)] * len(table.keys)

    def test_nothing_shows_a_key_or_its_hash(self):
        table = Table.parse(table_text())
        shown = repr(table) + repr(tenants()(bearer(ALICE))) + repr(table.keys)
        assert ALICE not in shown
        assert hash_of(ALICE.encode()).hex() not in shown
        assert ALICE not in table_text()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("unknown = 'maybe'", "refuse"),
            ("unknwon = 'own'", "unknwon"),
            ("[[keys]]\nhash = 'abc'\ntenant = 'acme'", "64 hexadecimal"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = 'key:1'", "letters"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = '*'", "letters"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = 'a'\nrole = 'root'", "role"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = 'a'\nexpires = 'soon'", "date and time"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = 'a'\npermissions = 'hr'", "list"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = 'a'\npermissions = ['h,r']", "comma"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = '*'\nrole = 'admin'\npermissions = ['hr']", "asks no model"),
            ("[trusted]\npermissions_header = 'x-groups'", "x-yamabiko-"),
            (f"[[keys]]\nhash = '{'0' * 64}'\ntenant = 'a'\n" * 2, "same hash"),
            ("keys = 3", "list"),
            ("keys = [3]", "[[keys]]"),
            ("[tenants.a]\nrequests_per_minute = 0", "whole number"),
            ("[tenants.a]\ncache_bytes = 'lots'", "512MiB"),
            ("[tenants.a]\nmodels = 'm'", "list of names"),
            ("[tenants.'a b']", "letters"),
            ("[trusted]\npeers = ['here']", "networks"),
            ("[trusted]\nheader = 'x-forwarded-user'", "x-yamabiko-"),
            ("tenants = 1", "table"),
            ("= nonsense", "TOML"),
        ],
    )
    def test_a_mistake_is_named(self, text, words):
        with pytest.raises(ConfigurationError, match=words.replace("[", r"\[")):
            Table.parse(text)

    def test_no_name_of_a_new_key_can_break_out_of_its_line(self):
        with pytest.raises(ConfigurationError):
            lines_for(ACME, tenant='a"\nrole = "admin')


class TestPermissions:
    LABELS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=","), min_size=1, max_size=20)

    @given(st.lists(LABELS, max_size=5))
    def test_a_key_holds_what_its_line_says(self, labels):
        caller = tenants(lines_for(ACME, tenant="acme", permissions=labels))(bearer(ACME))
        assert caller.permissions == tuple(sorted(set(labels)))

    @given(st.lists(LABELS, max_size=5))
    def test_a_proxy_says_what_a_caller_holds(self, labels):
        line = ", ".join(labels).encode()
        scope = asked_with(("x-yamabiko-tenant", "initech"))
        scope["headers"].append((b"x-yamabiko-permissions", line))
        assert tenants()(scope).permissions == tuple(sorted(set(labels)))

    @pytest.mark.parametrize("lines", [(b"hr", b"it"), (b"\xff",), (b"hr,,it",), (b"h\x01",), (b",",), (b"a" * 129,)])
    def test_it_says_so_once_and_readably(self, lines):
        scope = asked_with(("x-yamabiko-tenant", "initech"))
        scope["headers"] += [(b"x-yamabiko-permissions", line) for line in lines]
        assert refusal(tenants(), scope) == (400, "bad_identity")
        too_many = ",".join(map(str, range(101)))
        scope = asked_with(("x-yamabiko-tenant", "initech"), ("x-yamabiko-permissions", too_many))
        assert refusal(tenants(), scope) == (400, "bad_identity")

    def test_nobody_else_may_and_nobody_without_a_tenant(self):
        held = ("x-yamabiko-permissions", "hr")
        assert refusal(tenants(), asked_with(held, client=("10.0.0.1", 1))) == (403, "not_trusted")
        assert refusal(tenants(), asked_with(held)) == (400, "bad_identity")
        own = tenants("unknown = 'own'")
        assert refusal(own, asked_with(held, ("authorization", "Bearer sk-one"))) == (403, "not_trusted")

    def test_a_key_has_those_of_its_line_whatever_a_header_says(self):
        scope = asked_with(("x-yamabiko-permissions", "hr"), ("authorization", f"Bearer {ACME}"))
        assert tenants()(scope).permissions == ()
        assert tenants()(bearer(ACME)).permissions == ()

    def test_no_label_of_a_new_key_can_break_out_of_its_line(self):
        for label in ("\\", "']", '"', '"]#', "人事 部"):
            assert Table.parse(lines_for(ACME, tenant="acme", permissions=[label])).keys[0].permissions == (label,)
        for label in ('a"]\nrole = "admin', "ü\u2028", "", " hr", "h,r"):
            with pytest.raises(ConfigurationError, match="printable"):
                lines_for(ACME, tenant="acme", permissions=[label])

    def test_they_are_not_shown(self):
        table = Table.parse(lines_for(ACME, tenant="acme", permissions=["secret-project"]))
        assert "secret-project" not in repr(table) + repr(Tenants(lambda: table)(bearer(ACME)))


class TestTheFile:
    def changed(self, path, text):
        path.write_text(text)
        os.utime(path, ns=(path.stat().st_mtime_ns + 1_000_000,) * 2)

    def test_a_change_is_seen_without_a_restart_and_a_broken_one_changes_nothing(self, tmp_path, caplog):
        path, clock = tmp_path / "tenants.toml", FakeClock()
        path.write_text(lines_for(ACME, tenant="acme"))
        who = Tenants(KeyFile(path, clock))
        assert who(bearer(ACME)).tenant == "acme"
        self.changed(path, lines_for(GLOBEX, tenant="globex"))
        clock.advance(1)
        assert who(bearer(GLOBEX)).tenant == "globex"
        assert refusal(who, bearer(ACME)) == (401, "invalid_api_key")
        self.changed(path, "[[keys]]\nhash = 'abc'")
        clock.advance(1)
        assert who(bearer(GLOBEX)).tenant == "globex"
        assert "stays as it was" in caplog.text
        path.unlink()
        clock.advance(1)
        assert who(bearer(GLOBEX)).tenant == "globex"

    def test_one_that_is_not_there_is_named_at_the_start(self, tmp_path):
        with pytest.raises(ConfigurationError, match="can't be read"):
            table_of(GatewaySettings(tenants_path=str(tmp_path / "none.toml")))


class TestTheTrustedHeader:
    def test_a_proxy_says_who_calls(self):
        scope = asked_with(("x-yamabiko-tenant", "initech"), ("x-yamabiko-user", "peter@initech.example"))
        caller = tenants()(scope)
        assert (caller.tenant, caller.user) == ("initech", "peter@initech.example")

    @pytest.mark.parametrize("client", [("10.0.0.1", 1), ("::1", 1), None, ("unix", 0), ("127.0.0.2", 1)])
    def test_nobody_else_may(self, client):
        scope = asked_with(("x-yamabiko-tenant", "initech"), client=client)
        assert refusal(tenants(), scope) == (403, "not_trusted")
        assert refusal(tenants(), asked_with(("x-yamabiko-user", "peter"), client=client)) == (403, "not_trusted")

    def test_with_no_configured_address_nobody_may(self):
        assert refusal(tenants("unknown = 'own'"), asked_with(("x-yamabiko-tenant", "a"))) == (403, "not_trusted")

    @pytest.mark.parametrize("names", [("a", "b"), ("key:0123",), ("a b",), ("",), ("ä",), ("a" * 129,)])
    def test_it_names_one_tenant_in_plain_letters(self, names):
        scope = asked_with(*(("x-yamabiko-tenant", name) for name in names))
        assert refusal(tenants(), scope) == (400, "bad_identity")

    def test_a_key_goes_before_it(self):
        scope = asked_with(("x-yamabiko-tenant", "initech"), ("authorization", f"Bearer {ACME}"))
        assert tenants()(scope).tenant == "acme"

    def test_addresses_and_networks_of_both_kinds(self):
        peers = Table.parse('[trusted]\npeers = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]').trusted
        inside = ("10.1.2.3", "fd12::1", "192.0.2.1", "::ffff:10.1.2.3", "fd12::1%eth0")
        assert all(peers.is_peer(address) for address in inside)
        assert not any(peers.is_peer(address) for address in ("11.0.0.1", "192.0.2.2", "::1", "", "testclient"))
        assert not Trusted().is_peer("127.0.0.1")


class TestTheUpstreamsCredential:
    def test_each_is_a_tenant_of_its_own_and_none_shares_nothing(self):
        who = tenants("unknown = 'own'")
        one, other = who(bearer("sk-one")), who(bearer("sk-two"))
        assert one.tenant != other.tenant
        assert one.tenant == who(bearer("sk-one")).tenant
        assert "sk-one" not in one.tenant + one.digest
        assert who(asked_with()).apart

    def test_without_a_table_too(self):
        who = Tenants(table_of(GatewaySettings()))
        assert who(bearer("sk-one")).tenant.startswith("key:")
        assert refusal(who, bearer("yamabiko-nobody")) == (401, "invalid_api_key")

    def test_limits_of_all_bind_them_too(self):
        who = tenants("unknown = 'own'\n[limits]\nrequests_per_minute = 1", clock=FakeClock())
        who(bearer("sk-one"))
        who(bearer("sk-two"))
        assert refusal(who, bearer("sk-one")) == (429, "rate_limit_exceeded")


class TestRequestsPerMinute:
    def test_a_tenant_is_told_when_to_come_again(self):
        clock = FakeClock()
        who = tenants(clock=clock)
        who(bearer(SLOW))
        who(bearer(SLOW))
        with pytest.raises(Refused) as refused:
            who(bearer(SLOW))
        assert (refused.value.status, refused.value.headers) == (429, ((b"retry-after", b"30"),))
        clock.advance(30)
        assert who(bearer(SLOW)).tenant == "slow"

    @given(st.integers(1, 100), st.lists(st.floats(0, 30), max_size=200))
    def test_never_more_than_the_bucket_holds_and_what_has_flowed_in(self, per_minute, pauses):
        buckets, now, taken = Buckets(), 1000.0, 0
        for pause in pauses:
            now += pause
            taken += buckets.take("t", per_minute, now) == 0.0
        assert taken <= per_minute + (now - 1000.0) * per_minute / 60 + 1e-6

    def test_whoever_has_asked_nothing_for_long_has_no_more_than_a_minutes_worth(self):
        buckets = Buckets()
        buckets.take("t", 3, 0.0)
        assert [buckets.take("t", 3, 36_000.0) == 0.0 for _ in range(4)] == [True, True, True, False]

    @given(st.integers(1, 1000), st.floats(0, 1e9))
    def test_whoever_waits_as_told_gets_a_token(self, per_minute, start):
        buckets = Buckets()
        while not (wait := buckets.take("t", per_minute, start)):
            pass
        assert 0 < wait <= 60 / per_minute
        assert buckets.take("t", per_minute, start + wait + 1e-3) == 0.0


class TestRoomInTheCache:
    def rooms(self, work):
        async def main():
            clock = FakeClock()
            async with open_cache("memory://", policy=LOOSE, embedder="none") as cache:
                return await work(Rooms(lambda: cache, clock), cache, clock)

        return asyncio.run(main())

    def caller(self, limit):
        return Caller(tenant="t", limits=Limits(cache_bytes=limit))

    async def counted(self, rooms, caller):
        rooms.has_room(caller)
        for _ in range(100):
            await asyncio.sleep(0)
        return rooms.has_room(caller)

    def test_whoever_has_no_limit_always_has_room(self):
        assert Rooms(lambda: None, FakeClock()).has_room(self.caller(None))

    def test_what_is_stored_counts_and_what_is_about_to_be(self):
        async def work(rooms, cache, clock):
            question = Request("q", tenant="t")
            seen = [await self.counted(rooms, self.caller(10_000))]
            miss = await cache.lookup(question)
            exchange = Exchange(method="POST", route="chat", started=0.0, caller=self.caller(10_000), outcome=miss)
            exchange.status, exchange.response_bytes = 200, 9_000
            rooms.ended(exchange)
            seen.append(rooms.has_room(exchange.caller))
            clock.advance(60)  # nothing has been stored after all
            seen.append(await self.counted(rooms, exchange.caller))
            await cache.remember(miss, "a" * 9_000)
            await cache.remember(await cache.lookup(Request("q", tenant="other")), "a" * 9_000)
            clock.advance(60)
            seen.append(await self.counted(rooms, exchange.caller))
            seen.append(await self.counted(rooms, self.caller(20_000)))
            return seen

        assert self.rooms(work) == [True, False, True, False, True]

    def test_without_a_cache_there_is_no_room(self):
        async def work(rooms, cache, clock):
            return await self.counted(Rooms(lambda: None, clock), self.caller(1_000))

        assert not self.rooms(work)


@given(st.lists(st.tuples(st.sampled_from(["authorization", "x-api-key", "x-yamabiko-key", "cookie"]), st.binary())))
def test_whatever_stands_in_the_headers_a_caller_is_refused_or_apart_from_all_others(headers):
    scope = {"headers": [(name.encode(), value) for name, value in headers], "client": ("127.0.0.1", 1)}
    try:
        caller = tenants("unknown = 'own'")(scope)
        outcome = "apart" if caller.apart else caller.tenant[:4]
    except Refused as refused:
        outcome = refused.status
    assert outcome in ("apart", "key:", 400, 401)


def test_a_prefix_in_capitals_or_twice_is_no_way_around():
    assert credential([(b"authorization", b"BEARER  " + ACME.encode())]) == ACME.encode()
    assert credential([(b"authorization", b"Basic x"), (b"x-api-key", b"sk-vendor")]) is None


# Through the gateway.


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tenants") / "tenants.toml"
    path.write_text(table_text())
    return path


@pytest.fixture(scope="module")
def gateway(upstream, path):
    url = f"sqlite:///{path.parent}/cache.db"
    own = "openai=sk-of-the-server"
    with running_gateway(url=url, upstream=upstream, gateway__tenants_path=path, gateway__upstream_keys=own) as gateway:
        yield gateway


def ask(gateway, question, key, *, headers=None, **body):
    return httpx.post(
        f"{gateway.url}/chat/completions",
        json=chat(question, **body),
        headers={"authorization": f"Bearer {key}", **(headers or {})},
        timeout=30,
    )


def is_hit(response):
    assert response.status_code == 200
    return "; hit" in response.headers["cache-status"]


class TestThroughTheGateway:
    def test_tenants_and_users_never_see_each_others_answers(self, gateway):
        for key in (ACME, ALICE, BOB, GLOBEX):
            assert not is_hit(ask(gateway, "whose is this?", key))
        for key in (ACME, ALICE, BOB, GLOBEX):
            assert is_hit(ask(gateway, "whose is this?", key))

    def test_the_body_can_not_say_who_calls(self, gateway):
        for number, claims in enumerate(({"user": "alice"}, {"metadata": {"user_id": "alice"}}, {"tenant": "acme"})):
            ask(gateway, f"planted {number}", ALICE)
            assert not is_hit(ask(gateway, f"planted {number}", GLOBEX, **claims))
            assert not is_hit(ask(gateway, f"planted {number}", BOB, **claims))

    def test_an_unknown_key_gets_the_vendors_own_error(self, gateway, upstream):
        response = ask(gateway, "unknown", "sk-anything")
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "unknown" not in upstream.questions()

    def test_no_key_of_ours_ever_reaches_an_upstream(self, gateway, upstream):
        ask(gateway, "secret", ACME, headers={"x-api-key": ACME, "x-yamabiko-key": ACME})
        httpx.get(f"{gateway.url}/models", headers={"authorization": f"Bearer {ACME}"})
        assert ACME not in str(upstream.calls())
        assert "sk-of-the-server" in str(upstream.calls()[-1])

    def test_nor_where_the_upstreams_key_is_the_clients(self, upstream, path, tmp_path):
        with running_gateway(
            url=f"sqlite:///{tmp_path}/cache.db", upstream=upstream, gateway__tenants_path=path
        ) as gateway:
            ask(gateway, "not ours", ACME)
            ask(gateway, "beside", "sk-clients-own", headers={"x-yamabiko-key": ACME})
        one, other = upstream.calls()[-2:]
        assert "authorization" not in one["headers"]
        assert other["headers"]["authorization"] == "Bearer sk-clients-own"
        assert ACME not in str((one, other))

    def test_too_many_requests_get_a_429_with_retry_after(self, gateway):
        responses = [ask(gateway, "fast", SLOW) for _ in range(3)]
        assert [response.status_code for response in responses] == [200, 200, 429]
        assert 0 < int(responses[-1].headers["retry-after"]) <= 30
        assert responses[-1].json()["error"]["code"] == "rate_limit_exceeded"

    def test_a_model_that_is_not_allowed_is_a_403(self, gateway, upstream):
        assert not is_hit(ask(gateway, "narrow", NARROW))
        response = ask(gateway, "wide", NARROW, model="other")
        assert (response.status_code, response.json()["error"]["code"]) == (403, "model_not_allowed")
        assert "wide" not in upstream.questions()

    def test_without_room_an_answer_is_passed_on_and_not_stored(self, gateway):
        assert not is_hit(ask(gateway, "no room", SMALL))
        assert not is_hit(ask(gateway, "no room", SMALL))

    def test_with_room_it_is_stored_once_the_room_is_known(self, gateway):
        told = {"x-yamabiko-tenant": "roomy"}
        assert any(is_hit(ask(gateway, "room", "sk-shared", headers=told)) for _ in range(100))

    def test_a_proxy_says_who_calls(self, gateway):
        told = {"x-yamabiko-tenant": "roomy", "x-yamabiko-user": "peter"}
        assert not is_hit(ask(gateway, "by proxy", "sk-shared", headers=told))
        assert not is_hit(ask(gateway, "by proxy", "sk-shared", headers={**told, "x-yamabiko-user": "paula"}))

    def test_a_new_key_works_without_a_restart(self, gateway, path):
        key = "yamabiko-new"
        assert ask(gateway, "early", key).status_code == 401
        path.write_text(table_text() + lines_for(key, tenant="acme"))
        for _ in range(200):
            if ask(gateway, "early", key).status_code == 200:
                break
        else:
            pytest.fail("the new key is not seen")
