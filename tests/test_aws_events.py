"""Events of documents on AWS, in the shapes in which Lambda gets them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import pytest

from yamabiko import open_cache, open_sync_cache
from yamabiko.aws.events import Change, after_ingestion, changes_in, documents_since, handle, ingestion_from
from yamabiko.errors import InvalidRequest, StoreUnavailable
from yamabiko.rag.lambda_handler import handler
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Policy, Reply, Source

EXACT = Policy(semantic=False)


def s3(name="ObjectCreated:Put", key="docs/opening+hours%281%29.txt", etag="abc"):
    thing = {"key": key, "size": 1, "sequencer": "0A"} | ({"eTag": etag} if etag else {})
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name}
    return record | {"s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "papers"}, "object": thing}}


def bridge(kind="Object Created", key="docs/opening hours(1).txt", etag="abc"):
    thing = {"key": key, "version-id": "v1"} | ({"etag": etag} if etag else {})
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": kind,
        "detail": {"bucket": {"name": "papers"}, "object": thing},
    }


def sns(event):
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Message": json.dumps(event)}}]}


def sqs(*bodies):
    records = [{"messageId": f"m{at}", "eventSource": "aws:sqs", "body": body} for at, body in enumerate(bodies)]
    return {"Records": records}


def envelope(event):
    return json.dumps({"Type": "Notification", "TopicArn": "t", "Message": json.dumps(event)})


WHERE = "s3://papers/docs/opening hours(1).txt"
DIRECT = {"Records": [s3()]}


@pytest.mark.parametrize(
    "event",
    [
        DIRECT,
        bridge(),
        sns(DIRECT),
        sns(bridge()),
        sqs(json.dumps(DIRECT)),
        sqs(json.dumps(bridge())),
        sqs(envelope(DIRECT)),
        sqs(envelope(bridge()), json.dumps(DIRECT)),
    ],
)
def test_a_changed_object_is_found_in_each_envelope(event):
    assert changes_in(event) == (Change(source=WHERE, digest="abc"),)


@pytest.mark.parametrize(
    "event",
    [
        {"Records": [s3("ObjectRemoved:Delete")]},
        {"Records": [s3("ObjectRemoved:DeleteMarkerCreated", etag="")]},
        {"Records": [s3("LifecycleExpiration:Delete")]},
        bridge("Object Deleted"),
    ],
)
def test_an_object_that_is_gone_has_no_digest(event):
    assert changes_in(event) == (Change(source=WHERE),)


def test_keys_in_japanese_are_decoded_where_s3_encodes_them_and_kept_where_it_does_not():
    encoded = {"Records": [s3(key="%E8%A6%8F%E7%A8%8B/%E4%BC%91%E6%9A%87+1%2B2.txt")]}
    assert changes_in(encoded)[0].source == "s3://papers/規程/休暇 1+2.txt"
    assert changes_in(bridge(key="規程/休暇 1+2%.txt"))[0].source == "s3://papers/規程/休暇 1+2%.txt"


@pytest.mark.parametrize(
    "event",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "papers"},
        {"Records": [s3("ObjectTagging:Put")]},
        bridge("Object Tags Added"),
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": {}},
        {"Records": []},
    ],
)
def test_other_events_hold_no_change(event):
    assert changes_in(event) == ()


@pytest.mark.parametrize(
    "event",
    [
        {"Records": [{"s3": {"bucket": {}}, "eventName": "ObjectCreated:Put"}]},
        {"Records": ["x"]},
        sqs("not json"),
        sqs("[1]"),
        bridge() | {"detail": None},
    ],
)
def test_what_can_not_be_read_is_refused(event):
    with pytest.raises(InvalidRequest):
        changes_in(event)


async def filled(cache, *sources):
    for source in sources:

        async def generate(request, source=source):
            return Reply(text=f"from {source.uri}", sources=(source,))

        await cache.answer(f"What does {source.uri} say?", generate)
    await cache.drain()


async def left(cache):
    return {entry.reply.sources[0].uri async for entry in cache.entries()}


def test_what_was_made_from_the_object_goes_however_often_it_is_told():
    async def run():
        async with open_cache("memory://", policy=EXACT, embedder=FakeEmbedder()) as cache:
            await filled(cache, Source(uri=WHERE), Source(uri="s3://papers/other.txt"))
            for _ in range(2):
                assert await handle(DIRECT, cache) == {"changes": 1}
                assert await left(cache) == {"s3://papers/other.txt"}

    asyncio.run(run())


def test_an_answer_that_was_made_from_the_new_state_stays():
    async def run():
        async with open_cache("memory://", policy=EXACT, embedder=FakeEmbedder()) as cache:
            await filled(cache, Source(uri=WHERE, digest="abc"))
            await handle(DIRECT, cache)
            assert await left(cache) == {WHERE}
            await handle({"Records": [s3(etag="def")]}, cache)
            assert await left(cache) == set()

    asyncio.run(run())


class Down:
    """A cache whose store fails for one document."""

    def __init__(self):
        self.told = []

    async def invalidate(self, source="", *, base="", digest=""):
        self.told.append(source or base)
        if source == "s3://papers/bad.txt":
            raise StoreUnavailable("down")


def test_of_a_queue_only_what_failed_comes_again():
    async def run():
        bad = {"Records": [s3(key="bad.txt")]}
        target = Down()
        event = sqs(json.dumps(DIRECT), json.dumps(bad), "not json", json.dumps(bridge()))
        failed = [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]
        assert await handle(event, target) == {"batchItemFailures": failed}
        assert target.told == [WHERE, "s3://papers/bad.txt", WHERE]
        with pytest.raises(StoreUnavailable):  # elsewhere, Lambda tries the whole event again
            await handle(bad, target)

    asyncio.run(run())


STARTED = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


def job(status="COMPLETE", **counts):
    told = {"knowledgeBaseId": "KB12345678", "dataSourceId": "DS1", "ingestionJobId": "J1", "status": status}
    return {"ingestionJob": told | {"statistics": counts, "startedAt": STARTED, "updatedAt": STARTED}}


def detail(uri, minutes):
    identifier = {"dataSourceType": "S3", "s3": {"uri": uri}}
    return {"status": "INDEXED", "identifier": identifier, "updatedAt": STARTED + dt.timedelta(minutes=minutes)}


def test_a_finished_job_forgets_once_more_what_it_has_read_anew():
    async def run():
        done = ingestion_from(job(numberOfModifiedDocumentsIndexed=1, numberOfDocumentsScanned=2))
        changed = documents_since([detail("s3://papers/a.txt", 1), detail("s3://papers/b.txt", -1)], done.started)
        target = Down()
        assert await after_ingestion(done, changed, target) == 1
        assert await after_ingestion(done, None, target) == 1
        gone = ingestion_from(job(numberOfDocumentsDeleted=1))
        assert await after_ingestion(gone, (), target) == 1
        assert target.told == ["s3://papers/a.txt", "KB12345678", "KB12345678"]
        for quiet in (job("IN_PROGRESS", numberOfNewDocumentsIndexed=3), job(numberOfDocumentsScanned=9)):
            assert await after_ingestion(ingestion_from(quiet), None, target) == 0
        assert ingestion_from(job()).knowledge == "KB12345678:J1"
        with pytest.raises(InvalidRequest):
            ingestion_from({"ingestionJob": {}})

    asyncio.run(run())


def test_the_entry_point_reads_its_settings_from_the_environment(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/cache.db"
    monkeypatch.setenv("YAMABIKO_URL", url)
    assert handler(DIRECT) == {"batchItemFailures": []}  # there is no cache yet, and none is made
    assert not (tmp_path / "cache.db").exists()
    asyncio.run(_fill(url))
    assert handler(DIRECT) == {"changes": 1}
    assert handler(sqs(json.dumps(DIRECT))) == {"batchItemFailures": []}
    ended = json.loads(json.dumps(job(numberOfNewDocumentsIndexed=1), default=lambda time: time.isoformat()))
    assert handler(ended) == {"changes": 1, "over": True, "knowledge": "KB12345678:J1"}
    with open_sync_cache(url, embedder=FakeEmbedder()) as cache:
        assert [entry.reply.sources[0].uri for entry in cache.entries()] == ["s3://papers/kept.txt"]


async def _fill(url):
    async with open_cache(url, policy=EXACT, embedder=FakeEmbedder()) as cache:
        sources = (
            Source(uri=WHERE),
            Source(uri="s3://papers/x.txt", base="KB12345678"),
            Source(uri="s3://papers/kept.txt"),
        )
        await filled(cache, *sources)
