"""What a request may ask of the cache by its headers, and what a response says of it."""

import re
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstreams.processes import chat, running_gateway, running_upstream
from yamabiko.core.guards import GUARDS
from yamabiko.gateway.control import Control, about
from yamabiko.gateway.exchange import Caller, Exchange, Refused
from yamabiko.types import (
    PLAIN,
    Candidate,
    Canonical,
    Controls,
    Entry,
    Hit,
    Key,
    Miss,
    MissReason,
    Policy,
    Question,
    Reply,
    Request,
    Scope,
)
from yamabiko.wire.fields import delta_seconds, directives

PROMISE = Policy(max_error_rate=0.02, min_similarity=0.8, stale_seconds=60, guards={"numbers": "feature"})


def read(*headers, policy=PROMISE, **options):
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Control(policy, **options)(pairs, Caller(tenant="t"))


def policy_says(value, policy=PROMISE):
    return read(("x-yamabiko-policy", value), policy=policy)


class TestCacheControl:
    @pytest.mark.parametrize(
        ("value", "controls"),
        [
            ("no-cache", Controls(read=False)),
            ("no-store", Controls(store=False)),
            ("only-if-cached", Controls(forward=False)),
            ("max-age=60", Controls(max_age_seconds=60.0, stale=False)),
            ('max-age="60"', Controls(max_age_seconds=60.0, stale=False)),
            ("No-Cache , NO-STORE", Controls(read=False, store=False)),
            ("max-age=soon", Controls(max_age_seconds=0.0, stale=False)),
            ("max-age", Controls(max_age_seconds=0.0, stale=False)),
            ("max-age=" + "9" * 400, Controls(max_age_seconds=2.0**31, stale=False)),
            ("max-age=1, max-age=100", Controls(max_age_seconds=1.0, stale=False)),
            ('private="no-store", max-stale=5, x', PLAIN),
            ('x="a, no-store", , no-cache', Controls(read=False)),
            ("max-stale, =3, @, no-store", Controls(store=False)),
            ("", PLAIN),
        ],
    )
    def test_directives(self, value, controls):
        assert read(("cache-control", value)) == controls

    def test_several_lines_are_one(self):
        assert read(("cache-control", "no-cache"), ("cache-control", "no-store")) == Controls(read=False, store=False)

    def test_whoever_asks_nothing_gets_the_same_value_each_time(self):
        assert read(("accept", "no-store"), ("user-agent", "x")) is PLAIN

    @given(st.text(st.characters(max_codepoint=255)))
    def test_any_text_is_read(self, value):
        found = directives(value)
        assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name) for name in found)
        assert 0 <= delta_seconds(found.get("max-age")) <= 2**31

    @given(
        st.dictionaries(
            st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True),
            st.none()
            | st.from_regex(r"[0-9a-z]{1,9}", fullmatch=True)
            | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
        ),
        st.sampled_from([",", ", ", " ,\t", ",,"]),
    )
    def test_what_is_written_by_the_grammar_is_read_back(self, wanted, comma):
        def written(name, value):
            if value is None:
                return name
            if re.fullmatch("[0-9a-z]+", value):
                return f"{name}={value}"
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'{name}="{escaped}"'

        assert directives(comma.join(written(*one) for one in wanted.items())) == wanted


class TestPolicy:
    @pytest.mark.parametrize(
        ("value", "controls"),
        [
            ("max_error_rate=0.01", Controls(max_error_rate=0.01)),
            ("min_similarity=0.95, semantic=off", Controls(min_similarity=0.95, semantic=False)),
            ("stale=off,max_age=10", Controls(stale=False, max_age_seconds=10.0)),
            ("guards.numbers=veto", Controls(guards=(("numbers", "veto"),))),
            ("guards.numbers=feature", Controls(guards=(("numbers", "feature"),))),
            ("semantic=on, stale=on", PLAIN),
            ("max_error_rate = 0.02 , min_similarity=0.8", Controls(max_error_rate=0.02, min_similarity=0.8)),
            (" , ", PLAIN),
        ],
    )
    def test_it_tightens(self, value, controls):
        assert policy_says(value) == controls

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("max_error_rate=0.05", "can't be above the 0.02"),
            ("max_error_rate=0", "max_error_rate must be in"),
            ("max_error_rate=much", "must be a number"),
            ("max_error_rate", "must be a number"),
            ("min_similarity=0.7", "can't be below the 0.8"),
            ("min_similarity=2", "min_similarity must be in"),
            ("min_similarity=1e400", "must be a number"),
            ("min_similarity=nan", "must be a number"),
            ("max_age=-1", "max_age_seconds must be 0 or more"),
            ("semantic=yes", "semantic=off"),
            ("guards.numbers=off", "can't be looser than the feature"),
            ("guards.negation=feature", "can't be looser than the veto"),
            ("guards.dreams=veto", "there are numbers"),
            ("ttl_seconds=1", "there are max_error_rate"),
            ("secret words", "there are max_error_rate"),
            ("semantic=off, semantic=off", "twice"),
        ],
    )
    def test_what_it_can_not_do_is_a_400_that_says_what_to_do(self, value, words):
        with pytest.raises(Refused, match=words) as refused:
            policy_says(value)
        assert (refused.value.status, refused.value.code) == (400, "invalid_policy")
        assert "secret" not in refused.value.message

    def test_what_is_off_can_not_be_turned_on(self):
        exact = Policy(semantic=False)
        for value in ("semantic=on", "stale=on"):
            with pytest.raises(Refused, match="only be turned off"):
                policy_says(value, exact)

    def test_without_a_promise_any_rate_is_stricter(self):
        bare = Policy(max_error_rate=None, min_similarity=0.9)
        assert policy_says("max_error_rate=0.5", bare) == Controls(max_error_rate=0.5)

    def test_of_two_ages_the_smaller_counts(self):
        both = (("cache-control", "max-age=10"), ("x-yamabiko-policy", "max_age=20"))
        assert read(*both).max_age_seconds == 10.0
        assert read(("cache-control", "max-age=30"), both[1]).max_age_seconds == 20.0

    def test_a_tenant_without_room_stores_nothing(self):
        assert read(has_room=lambda _: False) == Controls(store=False)
        assert read(("cache-control", "no-cache"), has_room=lambda _: False) == Controls(read=False, store=False)
        assert read(has_room=lambda _: True) is PLAIN

    @given(st.text(st.characters(max_codepoint=255)))
    def test_any_text_is_followed_or_refused_and_never_loosens(self, value):
        try:
            found = policy_says(value)
        except Refused as refused:
            assert_harmless(refused, value)
            return
        assert found.max_error_rate is None or found.max_error_rate <= 0.02
        assert found.min_similarity is None or found.min_similarity >= 0.8


def assert_harmless(refused, value):
    assert refused.status == 400
    assert refused.message.isascii()
    assert len(value) < 8 or value not in refused.message


# What is said.

SCOPE = Scope(content=b"c" * 32, digest=b"s" * 32, tenant="secret tenant", model="m")
KEY = Key(scope=SCOPE, digest=b"\x0f" * 32)


def exchange(outcome, **fields):
    return Exchange(method="POST", route="chat", started=0.0, outcome=outcome, **fields)


def entry(**changes):
    reply = Reply(text="secret answer", model="m", cost_usd=0.00123, latency_seconds=2.5)
    question = Question(digest=KEY.digest, text="secret question")
    given = {"id": KEY.hex, "scope": SCOPE, "questions": (question,), "reply": reply, "created": 1000.0}
    return Entry(**given | {"expires": 1600.0} | changes)


def hit(**changes):
    given = {"key": KEY, "entry": entry(), "tier": "exact", "similarity": 1.0, "reasons": ("r",), "age_seconds": 12.7}
    return Hit(**given | {"id": "A-_9" * 32} | changes)


def miss(reason=MissReason.ABSENT, **changes):
    canonical = Canonical(question="secret question", text="secret question")
    given = {"request": Request("secret question"), "key": KEY, "canonical": canonical, "reasons": ("r",)}
    return Miss(reason=reason, **given | changes)


def said(outcome, **fields):
    return {name.decode(): value.decode() for name, value in about(exchange(outcome, **fields))}


_ITEM = r'(?:[A-Za-z*][!#$%&\'*+.^_`|~0-9A-Za-z:/-]*|-?\d{1,15}|"(?:[ !#-\[\]-~]|\\["\\])*")'
CACHE_STATUS = re.compile(rf"Yamabiko(?:; [a-z*][a-z0-9_.*-]*(?:={_ITEM})?)*")
"""A member of a list of tokens with parameters. Source: RFC 9651, 3.3, and RFC 9211, 2."""


class TestWhatIsSaid:
    def test_an_exact_hit(self):
        assert said(hit()) == {
            "cache-status": f'Yamabiko; hit; ttl=587; key="{KEY.hex[:16]}"; detail=exact',
            "age": "12",
            "x-yamabiko-tier": "exact",
            "x-yamabiko-entry": KEY.hex,
            "x-yamabiko-saved-usd": "0.001230",
            "x-yamabiko-saved-seconds": "2.500",
            "x-yamabiko-hit-id": "A-_9" * 32,
        }

    def test_a_hit_by_meaning_says_how_sure_it_is(self):
        told = said(
            hit(
                tier="semantic",
                similarity=0.91234,
                score=0.98,
                p_correct=0.97,
                error_upper=0.0123,
                calibration="certified",
            )
        )
        names = ("similarity", "score", "p-correct", "error-upper", "calibration")
        values = ["0.9123", "0.9800", "0.9700", "0.0123", "certified"]
        assert [told[f"x-yamabiko-{name}"] for name in names] == values

    def test_a_stale_one_has_less_than_no_time_left(self):
        told = said(hit(stale=True, age_seconds=700.2))["cache-status"]
        assert "ttl=-101" in told
        assert told.endswith("detail=stale")
        assert said(hit(stale=True), stale_if_error=True)["cache-status"].endswith("detail=stale-if-error")

    def test_one_that_lives_for_ever_has_no_ttl(self):
        assert "ttl" not in said(hit(entry=entry(expires=float("inf"))))["cache-status"]

    @pytest.mark.parametrize(
        ("outcome", "words"),
        [
            (miss(), "fwd=miss"),
            (miss(MissReason.EXPIRED), "fwd=stale"),
            (miss(MissReason.CONTROL), "fwd=request"),
            (miss(MissReason.BYPASS, key=None), "fwd=bypass"),
            (miss(MissReason.STORE_UNAVAILABLE, key=None), "fwd=bypass"),
        ],
    )
    def test_a_miss_says_why_it_went_on(self, outcome, words):
        told = said(outcome, upstream_status=200)
        assert told["cache-status"].startswith(f"Yamabiko; {words}; fwd-status=200")
        assert told["x-yamabiko-reason"] == outcome.reason

    def test_one_that_waited_for_anothers_says_so(self):
        assert "; collapsed" in said(miss(), shared=True)["cache-status"]

    def test_one_that_was_not_forwarded_does_not_say_that_it_was(self):
        assert "fwd" not in said(miss(), controls=Controls(forward=False))["cache-status"]

    def test_where_the_cache_was_not_asked_nothing_is_said(self):
        assert said(None) == {}

    HOSTILE = st.text(st.sampled_from('a\r\n\0"\\;,= é'), max_size=8) | st.text(max_size=8)

    @given(
        st.builds(
            hit,
            id=HOSTILE,
            entry=st.builds(entry, id=HOSTILE, expires=st.floats(0, 1e12) | st.just(float("inf"))),
            tier=st.sampled_from(["exact", "semantic", "verified"]),
            similarity=st.floats(-1, 1),
            score=st.none() | st.floats(0, 1),
            age_seconds=st.floats(0, 1e9),
            namespace=HOSTILE,
            reasons=st.tuples(HOSTILE),
        )
        | st.builds(
            miss,
            reason=st.sampled_from(MissReason),
            reasons=st.tuples(HOSTILE),
            namespace=HOSTILE,
            nearest=st.just(()) | st.just((Candidate(entry=entry(), similarity=0.5),)),
        )
    )
    def test_whatever_is_in_them_headers_are_well_formed_and_hold_no_text(self, outcome):
        told = said(outcome, upstream_status=503, error="e")
        assert CACHE_STATUS.fullmatch(told["cache-status"])
        for name, value in told.items():
            assert re.fullmatch(r"[!-~][ -~]*|", value)
            assert re.fullmatch(r"[a-z-]+", name)
            assert "secret" not in value


# Through the gateway.

RESET = "How do I reset my password?"
RESET_TOO = "How can I reset my password?"


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('control')}/cache.db"
    settings = {"policy__max_error_rate": "none", "policy__min_similarity": "0.8", "embedder__kind": "local"}
    with running_gateway(url=url, upstream=upstream, **settings) as gateway:
        yield gateway


def ask(gateway, question, *, cache_control=None, policy=None, stream=False):
    headers = {"authorization": "Bearer k"}
    headers |= {"cache-control": cache_control} if cache_control else {}
    headers |= {"x-yamabiko-policy": policy} if policy else {}
    response = httpx.post(
        f"{gateway.url}/chat/completions", json=chat(question, stream=stream), headers=headers, timeout=30
    )
    status = response.headers.get("cache-status", "")
    return SimpleNamespace(
        status=response.status_code, hit="; hit" in status, said=status, headers=response.headers, text=response.text
    )


class TestThroughTheGateway:
    @pytest.mark.parametrize("stream", [False, True])
    def test_no_cache_asks_the_upstream_and_keeps_what_it_says(self, gateway, upstream, stream):
        question = f"fresh {stream}"
        ask(gateway, question)
        first = ask(gateway, question)
        again = ask(gateway, question, cache_control="no-cache", stream=stream)
        assert (first.hit, again.hit, upstream.questions().count(question)) == (True, False, 2)
        assert "fwd=request" in again.said
        assert ask(gateway, question).headers["x-yamabiko-entry"] == first.headers["x-yamabiko-entry"]

    @pytest.mark.parametrize("stream", [False, True])
    def test_no_store_leaves_nothing_behind(self, gateway, stream):
        question = f"unstored {stream}"
        assert not ask(gateway, question, cache_control="no-store", stream=stream).hit
        assert not ask(gateway, question, cache_control="no-store").hit
        assert not ask(gateway, question).hit
        assert ask(gateway, question, cache_control="no-store").hit

    @pytest.mark.parametrize("stream", [False, True])
    def test_only_if_cached_is_a_504_without_an_answer(self, gateway, upstream, stream):
        question = f"asked of nobody {stream}"
        response = ask(gateway, question, cache_control="only-if-cached", stream=stream)
        assert (response.status, '"not_stored"' in response.text) == (504, True)
        assert "fwd" not in response.said
        assert question not in upstream.questions()
        ask(gateway, question)
        assert ask(gateway, question, cache_control="only-if-cached", stream=stream).hit

    def test_only_if_cached_and_no_cache_is_a_504_too(self, gateway):
        ask(gateway, "both")
        assert ask(gateway, "both", cache_control="only-if-cached, no-cache").status == 504

    def test_an_answer_older_than_max_age_will_not_do(self, gateway):
        ask(gateway, "aged")
        assert ask(gateway, "aged", cache_control="max-age=3600").hit
        assert not ask(gateway, "aged", cache_control="max-age=0").hit

    def test_the_policy_header_tightens(self, gateway):
        ask(gateway, RESET)
        by_meaning = ask(gateway, RESET_TOO)
        assert by_meaning.headers["x-yamabiko-tier"] == "semantic"
        similarity = float(by_meaning.headers["x-yamabiko-similarity"])
        assert 0.8 <= similarity < 1
        assert by_meaning.headers["x-yamabiko-calibration"] == "none"
        for policy in (f"min_similarity={similarity + 0.001:.4f}", "semantic=off", "max_error_rate=0.01"):
            refused = ask(gateway, RESET_TOO, policy=policy, cache_control="no-store")
            assert (refused.status, refused.hit) == (200, False)
        assert ask(gateway, RESET_TOO, policy="min_similarity=0.8").hit

    def test_a_loosening_one_is_a_400_in_the_vendors_shape(self, gateway, upstream):
        response = ask(gateway, "loosened", policy="min_similarity=0.5")
        assert response.status == 400
        assert "below the 0.8 that is configured" in response.text
        assert "loosened" not in upstream.questions()

    def test_the_gateways_headers_do_not_reach_the_upstream(self, gateway, upstream):
        ask(gateway, "quiet", policy="semantic=off")
        call = next(call for call in reversed(upstream.calls()) if "quiet" in call["body"])
        assert not [name for name in call["headers"] if name.startswith("x-yamabiko")]


def test_every_guard_can_be_asked_for():
    assert all(policy_says(f"guards.{name}=veto").guards == ((name, "veto"),) for name in GUARDS)
