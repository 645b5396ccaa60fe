"""Events of AWS as requests, and answers as their senders want them. The events are AWS's documented examples."""

import base64
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.running import EVENTS, recorded
from yamabiko.errors import InvalidRequest
from yamabiko.gateway.lambda_events import PRELUDE_END, prelude, read_event, scope_of, whole_answer

ASKED = {"model": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": "What is a mountain echo?"}]}
REQUESTS = sorted(path.stem for path in EVENTS.glob("*.json") if path.stem != "alb_health_check")
TEXT = [(b"content-type", b"application/json")]


def test_there_is_one_of_each_kind():
    assert {read_event(recorded(name)).kind for name in REQUESTS} == {"v2", "v1", "alb", "alb_lists"}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_event_is_the_same_request(name):
    read = read_event(recorded(name))
    assert (read.method, read.path, read.scheme) == ("POST", b"/v1/chat/completions", "https")
    assert json.loads(read.body) == ASKED
    scope = scope_of(read)
    assert scope["raw_path"] == b"/v1/chat/completions"
    assert scope["method"] == "POST"
    headers = scope["headers"]
    assert (b"authorization", b"Bearer example") in headers
    assert [value for header, value in headers if header == b"content-length"] == [b"%d" % len(read.body)]
    assert all(header == header.lower() for header, _ in headers)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("http_api", b"parameter1=value1&parameter1=value2&parameter2=value"),
        ("function_url", b"parameter1=value1&parameter1=value2"),
        ("alb", b"myKey=%3FshowAll%3Dtrue&other=a+b"),
        ("alb_multi_value", b"myKey=val1&myKey=val2"),
        ("rest_api", b"name=me&name=a%20value%20%26%20more"),
        ("alb_health_check", b""),
    ],
)
def test_a_query_is_what_the_client_sent(name, query):
    assert read_event(recorded(name)).query == query


@pytest.mark.parametrize("name", ["http_api", "function_url", "alb", "alb_multi_value"])
def test_cookies_arrive(name):
    cookies = b"; ".join(value for header, value in read_event(recorded(name)).headers if header == b"cookie")
    assert cookies == b"cookie1=one; cookie2=two"


def test_several_headers_of_a_name_arrive():
    headers = read_event(recorded("rest_api")).headers
    assert [value for header, value in headers if header == b"header1"] == [b"value1", b"value2"]
    assert (b"x-two", b"value1,value2") in read_event(recorded("http_api")).headers


def test_who_asks_is_known_where_the_event_says_so():
    assert scope_of(read_event(recorded("http_api")))["client"] == ("192.0.2.1", 0)
    assert scope_of(read_event(recorded("rest_api")))["client"] == ("192.0.2.1", 0)
    assert scope_of(read_event(recorded("alb")))["client"] is None


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/v1/files/a%2Fb", b"/v1/files/a%2Fb"),
        ("/v1/日本", b"/v1/%E6%97%A5%E6%9C%AC"),
        ("/v1/a b", b"/v1/a%20b"),
        ("", b"/"),
    ],
)
def test_a_path_is_encoded_once(given, path):
    assert read_event(recorded("http_api", rawPath=given)).path == path
    assert read_event(recorded("rest_api", path=given)).path == path


@given(st.binary(max_size=200))
def test_a_binary_body_arrives(body):
    told = recorded("http_api", body=base64.b64encode(body).decode(), isBase64Encoded=True)
    assert read_event(told).body == body


@pytest.mark.parametrize(
    "event",
    [
        {},
        [],
        None,
        "x",
        {"source": "aws.events", "detail": {}},
        {"Records": [{"eventSource": "aws:s3"}]},
        recorded("http_api", headers=None),
        recorded("http_api", body={"a": 1}),
        recorded("http_api", body="secret words!", isBase64Encoded=True),
        recorded("http_api", headers={"a": "b\r\nx-injected: c"}),
        recorded("http_api", headers={"a b": "c"}),
        recorded("http_api", rawPath="v1"),
        recorded("http_api", requestContext={}),
        recorded("alb", httpMethod="get me"),
        recorded("alb", queryStringParameters={"a": 1}),
        recorded("alb_multi_value", multiValueHeaders={"a": [None]}),
    ],
)
def test_what_is_no_request_is_refused_without_a_word_of_it(event):
    with pytest.raises(InvalidRequest) as refused:
        read_event(event)
    assert "secret" not in str(refused.value)
    assert "injected" not in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(REQUESTS),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_request_or_refused(value, name, data):
    event = recorded(name)
    event[data.draw(st.sampled_from(sorted(event)))] = value
    for told in (value, event):
        with contextlib.suppress(InvalidRequest):
            scope_of(read_event(told))


# Answers.


def answered(name, headers, body, status=200):
    told = whole_answer(read_event(recorded(name)), status, headers, body)
    json.dumps(told)  # it is JSON, as Lambda wants it
    return told


def body_of(told):
    return base64.b64decode(told["body"]) if told["isBase64Encoded"] else told["body"].encode()


@pytest.mark.parametrize("name", REQUESTS)
@given(body=st.binary(max_size=100), kind=st.sampled_from([b"application/json", b"text/event-stream", b"image/png"]))
@settings(max_examples=40, deadline=None)
def test_every_body_arrives_whatever_it_is(name, body, kind):
    told = answered(name, [(b"content-type", kind)], body)
    assert body_of(told) == body
    assert told["statusCode"] == 200


def test_text_is_told_as_text_and_the_rest_in_base64():
    assert answered("http_api", TEXT, "日本".encode())["body"] == "日本"
    assert answered("http_api", [(b"content-type", b"text/event-stream; charset=utf-8")], b"data: x\n\n")["body"]
    assert answered("http_api", [*TEXT, (b"content-encoding", b"gzip")], b"{}")["isBase64Encoded"]
    assert answered("http_api", [(b"content-type", b"image/png")], b"{}")["isBase64Encoded"]
    assert answered("http_api", [], b"{}")["isBase64Encoded"]
    assert answered("http_api", TEXT, b"\xff")["isBase64Encoded"]
    assert not answered("http_api", [(b"content-type", b"image/png")], b"")["isBase64Encoded"]


SAID = [
    *TEXT,
    (b"set-cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
    (b"set-cookie", b"b=2"),
    (b"set-cookie", b"c=3"),
    (b"via", b"1.1 one"),
    (b"via", b"1.1 two"),
    (b"content-length", b"2"),
    (b"transfer-encoding", b"chunked"),
    (b"connection", b"close"),
]
COOKIES = ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2", "c=3"]


@pytest.mark.parametrize("name", ["http_api", "function_url"])
def test_format_2_has_a_place_for_cookies(name):
    told = answered(name, SAID, b"{}")
    assert told["cookies"] == COOKIES
    assert told["headers"] == {"content-type": "application/json", "via": "1.1 one, 1.1 two"}
    assert "multiValueHeaders" not in told


def test_a_rest_api_and_a_balancer_with_lists_get_lists():
    expected = {"content-type": ["application/json"], "set-cookie": COOKIES, "via": ["1.1 one", "1.1 two"]}
    assert answered("rest_api", SAID, b"{}")["multiValueHeaders"] == expected
    told = answered("alb_multi_value", SAID, b"{}", status=404)
    assert told["multiValueHeaders"] == expected
    assert told["statusDescription"] == "404 Not Found"
    assert "headers" not in told


def test_a_balancer_without_lists_loses_no_cookie():
    told = answered("alb", SAID, b"{}", status=299)
    cookies = {name: value for name, value in told["headers"].items() if name.lower() == "set-cookie"}
    assert sorted(cookies.values()) == sorted(COOKIES)
    assert told["headers"]["via"] == "1.1 one, 1.1 two"
    assert told["statusDescription"] == "299 Unknown"
    assert "multiValueHeaders" not in told


def test_a_streamed_answer_begins_with_its_head():
    head, end, rest = prelude(201, SAID).partition(PRELUDE_END)
    assert (end, rest) == (bytes(8), b"")
    assert json.loads(head) == {
        "statusCode": 201,
        "headers": {"content-type": "application/json", "via": "1.1 one, 1.1 two"},
        "cookies": COOKIES,
    }
