"""Bedrock's knowledge bases: what comes back, whole and in events, to our vocabulary and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.errors import InvalidRequest
from yamabiko.wire.knowledge_base import (
    API,
    Assembly,
    events_from,
    references_of,
    reply_from,
    response_from,
    text_of,
    uri_of,
)
from yamabiko.wire.replay import loss


def reference(uri, text):
    return {
        "content": {"type": "TEXT", "text": text},
        "location": {"type": "S3", "s3Location": {"uri": uri}},
        "metadata": {"page": 3},
    }


def citation(start, end, *references):
    part = {"textResponsePart": {"text": "x", "span": {"start": start, "end": end}}}
    return {"generatedResponsePart": part, "retrievedReferences": list(references)}


KYOTO, NARA = reference("s3://b/京都.txt", "京都の話"), reference("s3://b/nara.txt", "About Nara")
BODY = {
    "output": {"text": "京都です。"},
    "sessionId": "s1",
    "citations": [citation(0, 2, KYOTO, NARA), citation(2, 5, KYOTO)],
    "guardrailAction": "NONE",
}


def heard(events):
    assembly = Assembly("m")
    for event in events:
        assembly.add(event)
    return assembly.reply()


def test_citations_are_kept_with_their_spans_and_the_session_is_not():
    reply = reply_from(BODY, model="m")
    assert (reply.text, reply.model, reply.finish_reason) == ("京都です。", "m", "stop")
    assert "s1" not in reply.extra
    assert response_from(reply) == {**BODY, "sessionId": ""}
    assert response_from(reply, session="mine") == {**BODY, "sessionId": "mine"}
    assert list(references_of(reply)) == [("s3://b/京都.txt", "京都の話"), ("s3://b/nara.txt", "About Nara")]
    assert loss(reply, API) == ""
    assert loss(reply, "messages") != ""


def test_a_stream_adds_up_to_the_same_and_is_told_again_in_its_pieces():
    events = [
        {"sessionId": "s1"},
        {"output": {"text": "京都"}},
        {"output": {"text": ""}},
        {"citation": {"citation": BODY["citations"][0]}},
        {"output": {"text": "です。"}},
        {"citation": BODY["citations"][1]},
        {"guardrail": {"action": "NONE"}},
    ]
    reply = heard(events)
    assert reply.chunk_lengths == (2, 3)
    assert response_from(reply) == response_from(reply_from(BODY))
    assert [event["output"]["text"] for event in events_from(reply) if "output" in event] == ["京都", "です。"]
    assert heard(events_from(reply)) == reply


def test_an_intervention_is_no_answer_to_store_however_it_is_told():
    assert reply_from({**BODY, "guardrailAction": "INTERVENED"}).finish_reason == "content_filter"
    told = [{"output": {"text": "no"}}, {"guardrail": {"action": "INTERVENED"}}, {"guardrail": {"action": "NONE"}}]
    assert heard(told).finish_reason == "content_filter"


@pytest.mark.parametrize("event", [{"anEventOfNextYear": {}}, {"throttlingException": {"message": "private"}}])
def test_what_is_not_known_in_a_stream_is_an_error(event):
    reply = heard([{"output": {"text": "Hi"}}, event])
    assert (reply.text, reply.finish_reason, reply.extra) == ("Hi", "error", "")


@pytest.mark.parametrize("event", [{}, {"output": "private"}, {"output": {}}, {"output": {"text": 7}}])
def test_an_event_that_does_not_fit_is_refused(event):
    with pytest.raises(InvalidRequest) as caught:
        Assembly().add(event)
    assert "private" not in str(caught.value)
    with pytest.raises(InvalidRequest):
        reply_from({"output": {"text": 7}})


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ({"type": "S3", "s3Location": {"uri": "s3://b/a"}}, "s3://b/a"),
        ({"type": "WEB", "webLocation": {"url": "https://example.org/a"}}, "https://example.org/a"),
        ({"type": "CUSTOM", "customDocumentLocation": {"id": "doc-1"}}, "doc-1"),
        ({"type": "KENDRA", "kendraDocumentLocation": {"uri": "k://a"}}, "k://a"),
        ({"type": "SQL", "sqlLocation": {"query": "SELECT 1"}}, "SELECT 1"),
        ({"type": "S3"}, "document"),
        (None, "document"),
    ],
)
def test_a_document_is_named_wherever_it_lies(location, uri):
    assert uri_of(location, "document") == uri


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "TEXT", "text": "京都"}, "京都"),
        ({"type": "ROW", "row": [{"columnName": "city", "columnValue": "Nara"}, {"columnName": "deer", "columnValue": "1300"}]}, "city: Nara\ndeer: 1300"),
        ({"type": "AUDIO", "audio": {"s3Uri": "s3://b/a", "transcription": "said"}}, "said"),
        ({"type": "VIDEO", "video": {"s3Uri": "s3://b/a", "summary": "seen"}}, "seen"),
        ({"type": "IMAGE", "byteContent": "data:image/png;base64,AA=="}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_what_a_model_can_read_of_a_passage(content, text):
    assert text_of(content) == text


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10)
BODIES = st.fixed_dictionaries(
    {
        "output": st.fixed_dictionaries({"text": TEXTS}),
        "citations": st.lists(st.builds(citation, st.integers(0, 5), st.integers(0, 9), st.builds(reference, TEXTS, TEXTS)), max_size=3),
    },
    optional={"guardrailAction": st.sampled_from(["NONE", "INTERVENED"])},
)  # fmt: skip


@given(BODIES)
@settings(max_examples=150, deadline=None)
def test_any_response_is_told_again_as_it_was_whole_and_as_a_stream(body):
    reply = reply_from(body, model="m")
    assert response_from(reply) == {**body, "sessionId": ""}
    told = heard(events_from(reply))
    assert (told.text, told.extra, told.finish_reason) == (reply.text, reply.extra, reply.finish_reason)
