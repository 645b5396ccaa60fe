"""Bodies, headers, answers and streams that are nearly right: no error of the gateway's making, nothing wrong stored.

``make fuzz`` runs the same with more examples.
"""

import itertools
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import damaged
from upstreams.inside import Inside
from upstreams.reading import is_whole, text_of
from upstreams.vendors import VENDORS, event, words_of

EXAMPLES = int(os.environ.get("YAMABIKO_FUZZ_EXAMPLES", "500")) // 5
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers = itertools.count()

KEY = ("authorization", "Bearer k")
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TURNS = [
    {"role": "user", "content": "What is an echo?"},
    {"role": "assistant", "content": "やまびこ"},
    {"role": "user", "content": [{"type": "text", "text": "And in 2 words?"}]},
]
BODIES = {
    "/v1/chat/completions": [
        {"model": "m", "messages": TURNS[:1], "temperature": 0.5, "stream": False, "user": "u", "n": 1},
        {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, *TURNS], "stream": True, "seed": 7},
        {"model": "m", "messages": TURNS, "tools": [TOOL], "tool_choice": "auto", "stop": ["."], "logprobs": True},
        {"model": "m", "messages": TURNS[:1], "response_format": {"type": "json_object"}, "metadata": {"a": "b"}},
    ],
    "/v1/messages": [
        {"model": "m", "max_tokens": 9, "messages": TURNS[:1], "system": "Be brief.", "metadata": {"user_id": "u"}},
        {"model": "m", "max_tokens": 9, "messages": TURNS, "stream": True, "thinking": {"type": "disabled"}},
        {"model": "m", "max_tokens": 9, "messages": TURNS, "system": [{"type": "text", "text": "x"}], "top_k": 4},
    ],
    "/v1/responses": [
        {"model": "m", "input": "What is an echo?", "store": False, "instructions": "Be brief.", "stream": False},
        {"model": "m", "input": TURNS[:1], "store": False, "stream": True, "text": {"format": {"type": "text"}}},
        {"model": "m", "input": "What?", "store": False, "metadata": {"a": "b"}, "reasoning": {"effort": "low"}},
    ],
}
PATHS = tuple(BODIES)
SILENT = {"stream", "stream_options", "user", "metadata", "service_tier"}
"""Members that change no answer, in all of the APIs; others have to be equal for two requests to share one."""
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=9,
)


@pytest.fixture(scope="module")
def inside():
    with Inside() as inside:
        yield inside


def document(path, body, text):
    if path == "/v1/chat/completions":
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        told = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
        return {**told, "choices": [choice], "usage": usage}
    return VENDORS[path.removeprefix("/v1")](1, body, text).document()


def stream(path, body, text):
    """The events of a stream as objects, the vendor's last word included where it is none."""
    if path == "/v1/chat/completions":
        deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words_of(text)), {}]
        told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return [{**told, "choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in deltas[:-1]] + [
            {**told, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            "[DONE]",
        ]
    return [one for part in VENDORS[path.removeprefix("/v1")](1, body, text).listed() for one in part]


def frames(events):
    def frame(one):
        if isinstance(one, dict) and isinstance(one.get("type"), str) and one["type"].isascii() and one["type"]:
            return event(one)
        return f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode()

    return b"".join(map(frame, events))


def good(path, text):
    """An upstream that answers well, whatever it is asked: a stream where it reads that one is wanted."""

    def says(body):
        try:
            asked = json.loads(body)
            streamed = asked.get("stream") is True
        except (ValueError, AttributeError):
            streamed = False
        if streamed:
            return 200, EVENTS, frames(stream(path, {"model": "m"}, text))
        return 200, JSON, json.dumps(document(path, {"model": "m"}, text)).encode()

    return says


def as_response(answer):
    """What ``reading`` takes: a response with ``text`` and ``json()``."""
    return type(
        "Response",
        (),
        {"headers": answer.headers, "text": answer.body.decode(), "json": lambda _: json.loads(answer.body)},
    )()


def hit(answer):
    return "; hit" in answer.headers.get("cache-status", "")


@fuzzed
@given(
    path=st.sampled_from(PATHS), body=st.binary(max_size=60) | any_json.map(lambda value: json.dumps(value).encode())
)
def test_whatever_comes_reaches_the_upstream_as_it_is_and_its_answer_the_client(inside, path, body):
    text = f"Answer {next(numbers)}."
    inside.upstream.says = good(path, text)
    inside.upstream.heard.clear()
    answer = inside.ask(path, body, [KEY])
    assert answer.status == 200
    assert [call.body for call in inside.upstream.heard] == [body]
    assert answer.body == good(path, text)(body)[2]


DEFAULTS = {"n": "1", "text": '{"format": {"type": "text"}}'}


def without_nulls(value):
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    if isinstance(value, dict):
        kept = {name: without_nulls(one) for name, one in value.items() if one is not None}
        return {name: one for name, one in kept.items() if one != {}}
    return value


def counts(body):
    """What of a body must be equal for another to get the same answer: null and defaults are as good as absent."""
    kept = {name: value for name, value in without_nulls(body).items() if name not in SILENT}
    if isinstance(kept.get("input"), str):
        kept["input"] = [{"role": "user", "content": kept["input"]}]
    written = {name: json.dumps(value, sort_keys=True) for name, value in kept.items()}
    return {name: value for name, value in written.items() if DEFAULTS.get(name) != value}


@fuzzed
@given(data=st.data(), path=st.sampled_from(PATHS))
def test_two_bodies_share_an_answer_only_where_nothing_that_counts_is_different(inside, data, path):
    caller = f"caller {next(numbers)}"
    one, two = (data.draw(damaged(BODIES[path])) for _ in range(2))
    answers = []
    for number, body in enumerate((one, two, one)):
        inside.upstream.says = good(path, f"Answer {number} for {caller}.")
        answers.append(inside.ask(path, json.dumps(body).encode(), [("authorization", caller)]))
        assert answers[-1].status == 200
        assert is_whole(as_response(answers[-1]))
    first, second, again = (text_of(as_response(answer)) for answer in answers)
    assert first == f"Answer 0 for {caller}."
    if hit(answers[1]):
        assert second == first
        assert counts(one) == counts(two)
    else:
        assert second == f"Answer 1 for {caller}."
    assert again == (first if hit(answers[2]) else f"Answer 2 for {caller}.")


def assert_what_is_stored_was_said(inside, path, model, said, wanted):
    """Asks again, in both forms: what comes from the cache can be read, and says what the upstream said."""
    inside.upstream.says = good(path, "A fresh answer.")
    for streamed in (False, True):
        body = {**BODIES[path][0], "model": model, "stream": streamed}
        answer = inside.ask(path, json.dumps(body).encode(), [KEY])
        assert answer.status == 200
        text = text_of(as_response(answer))
        assert is_whole(as_response(answer))
        if hit(answer) and text != "A fresh answer.":
            assert text == wanted
            assert text in said
        else:
            assert text == "A fresh answer."


def told(path, document):
    """The text of a document as its vendor's client reads it; None where there is none that could be stored."""
    try:
        if path == "/v1/chat/completions":
            return document["choices"][0]["message"]["content"]
        items = document["content"] if path == "/v1/messages" else document["output"]
        parts = items if path == "/v1/messages" else [part for item in items for part in item["content"]]
        return "".join(part["text"] for part in parts)
    except (KeyError, IndexError, TypeError):
        return None


@fuzzed
@given(data=st.data(), path=st.sampled_from(PATHS), streamed=st.booleans())
def test_a_damaged_document_reaches_the_client_and_is_stored_only_where_it_says_something(inside, data, path, streamed):
    model = f"m{next(numbers)}"
    value = data.draw(damaged([document(path, {"model": "m"}, "An echo, や.")]) | any_json)
    said = json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")
    cut = data.draw(st.integers(0, len(said)) | st.just(len(said)))
    inside.upstream.says = lambda _: (200, JSON, said[:cut])
    body = {**BODIES[path][0], "model": model, "stream": streamed}
    answer = inside.ask(path, json.dumps(body).encode(), [KEY])
    assert (answer.status, answer.body) == (200, said[:cut])
    assert_what_is_stored_was_said(inside, path, model, said.decode(errors="replace"), told(path, value))


@st.composite
def spoiled(draw, path):
    """The events of a stream, some of them damaged, doubled, out of their order or left out; and those bytes cut."""
    events = stream(path, {"model": "m"}, "An echo, や, comes.")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(events) - 1))
        how = draw(st.sampled_from(["out", "double", "swap", "damage", "cut"]))
        if how == "out" and len(events) > 1:
            del events[at]
        elif how == "double":
            events.insert(at, events[at])
        elif how == "swap":
            events[at], events[0] = events[0], events[at]
        elif how == "damage" and isinstance(events[at], dict):
            events[at] = draw(damaged([events[at]]))
        elif how == "cut":
            del events[at + 1 :]
    data = frames(events)
    return events, data[: draw(st.integers(0, len(data)) | st.just(len(data)))]


TERMINAL = {
    "/v1/chat/completions": b"data: [DONE]\n",
    "/v1/messages": b'data: {"type": "message_stop"}\n',
    "/v1/responses": b'data: {"type": "response.completed"',
}


def pieces(events):
    """The texts of a stream's deltas, joined."""
    response = {"headers": EVENTS, "text": frames(events).decode()}
    return text_of(type("Response", (), response)())


@fuzzed
@given(data=st.data(), path=st.sampled_from(PATHS))
def test_a_spoiled_stream_reaches_the_client_and_is_stored_only_where_it_came_to_its_end(inside, data, path):
    model = f"m{next(numbers)}"
    events, said = data.draw(spoiled(path))
    inside.upstream.says = lambda _: (200, EVENTS, said)
    body = {**BODIES[path][0], "model": model, "stream": True}
    answer = inside.ask(path, json.dumps(body).encode(), [KEY])
    assert (answer.status, answer.body) == (200, said)
    inside.upstream.says = good(path, "A fresh answer.")
    for streamed in (True, False):
        again = inside.ask(path, json.dumps({**body, "stream": streamed}).encode(), [KEY])
        text = text_of(as_response(again))
        assert again.status == 200
        assert is_whole(as_response(again))
        if text != "A fresh answer.":
            assert hit(again)
            assert text == pieces(events)

            assert TERMINAL[path] in said


header_values = st.binary(max_size=30).map(lambda value: bytes(one for one in value if one not in b"\r\n\0"))
words = st.sampled_from(
    [
        "no-cache",
        "no-store",
        "only-if-cached",
        "max-age=0",
        "max-age=9",
        "min_similarity=0.9",
        "semantic=off",
        "stale=off",
        "guards.numbers=veto",
        "max_error_rate=1e9",
        "=",
        '"',
        "max-age",
        "max_age=-1",
        "max_error_rate=nan",
        "é",
    ]
)
directives = st.lists(words, max_size=4).map(lambda some: ", ".join(some).encode())


@fuzzed
@given(
    path=st.sampled_from(PATHS),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "authorization",
                    "x-api-key",
                    "api-key",
                    "cache-control",
                    "x-yamabiko-policy",
                    "x-yamabiko-key",
                    "x-yamabiko-tenant",
                    "x-yamabiko-user",
                    "content-type",
                    "connection",
                    "accept-encoding",
                    "traceparent",
                    "anthropic-version",
                    "transfer-encoding",
                    "forwarded",
                    "x-forwarded-for",
                    "cookie",
                    "baggage",
                ]
            ),
            header_values | directives | st.just(b"yamabiko-x") | st.just(b"Bearer yamabiko-x"),
        ),
        max_size=5,
    ),
    query=header_values,
)
def test_whatever_headers_come_the_answer_is_the_upstreams_or_a_refusal(inside, path, headers, query):
    inside.upstream.says = good(path, "An echo.")
    body = json.dumps({**BODIES[path][0], "model": f"m{next(numbers) % 9}"}).encode()
    answer = inside.ask(path, body, headers, query=query)
    assert answer.status in (200, 400, 401, 403, 504)
    if answer.status == 200:
        assert text_of(as_response(answer)) == "An echo."
    else:
        assert isinstance(json.loads(answer.body), dict)
