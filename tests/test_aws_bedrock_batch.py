"""``yamabiko warm --batch``: jobs at the stand-in, resumed and never paid for twice; and S3 through the real client."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from click.testing import CliRunner

from yamabiko import Policy, Settings, open_cache
from yamabiko.aws.batch import BatchInference, S3Files
from yamabiko.aws.bedrock_calls import Access
from yamabiko.cli import main
from yamabiko.errors import ConfigurationError, ServiceError
from yamabiko.testing.bedrock import BedrockStandIn, Failure

CLAUDE = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
ROLE = "arn:aws:iam::123456789012:role/batch"
QUESTIONS = [
    "How do I reset my password?",
    "パスワードを忘れました。どうすればいいですか。",
    "When does the office open?",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "YAMABIKO_URL": f"sqlite:///{tmp_path}/cache.db",
        "YAMABIKO_BEDROCK__REGION": "us-east-1",
        "YAMABIKO_BEDROCK__ATTEMPTS": "1",
        "YAMABIKO_EMBEDDER__KIND": "titan",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    with BedrockStandIn(s3_folder=tmp_path / "s3") as running:
        for name in ("ENDPOINT_URL", "CONTROL_ENDPOINT_URL"):
            monkeypatch.setenv(f"YAMABIKO_BEDROCK__{name}", running.url)
        yield running


def warm(tmp_path, *arguments, questions=QUESTIONS):
    file = tmp_path / "questions.txt"
    file.write_text("\n".join(questions), encoding="utf-8")
    given = ["warm", str(file), "--batch", "s3://bucket/warm", "--batch-role", ROLE]
    options = ["--batch-folder", str(tmp_path / "s3"), "--model", CLAUDE, "--poll", "0.01"]
    return CliRunner().invoke(main, ["--json", *given, *options, *arguments])


def counted(result):
    told = json.loads(result.stdout)
    return told["stored"], told["skipped"], told["refused"]


def looked_up(tmp_path, stand_in, question):
    settings = Settings.load(
        arguments={
            "bedrock": {"region": "us-east-1", "endpoint_url": stand_in.url},
            "policy": Policy(max_error_rate=None, min_similarity=0.5),
        }
    )

    async def run():
        from yamabiko import Request

        async with open_cache(f"sqlite:///{tmp_path}/cache.db", settings=settings, embedder="titan") as cache:
            return await cache.lookup(Request(question, model=CLAUDE))

    return asyncio.run(run())


def test_answers_and_vectors_come_from_two_jobs_and_none_from_a_call(tmp_path, stand_in):
    result = warm(tmp_path)
    assert result.exit_code == 0, result.output
    assert counted(result) == (3, 0, 0)
    assert stand_in.count("CreateModelInvocationJob") == 2
    assert stand_in.count("Converse") == stand_in.count("InvokeModel") == 0
    assert looked_up(tmp_path, stand_in, QUESTIONS[1]).tier == "exact"
    assert looked_up(tmp_path, stand_in, "How can I reset my password?").tier == "semantic"


def test_a_second_run_pays_for_nothing(tmp_path, stand_in):
    assert warm(tmp_path).exit_code == 0
    jobs = stand_in.count("CreateModelInvocationJob")
    again = warm(tmp_path)
    assert counted(again) == (0, 3, 0)
    assert stand_in.count("CreateModelInvocationJob") == jobs


def test_a_run_that_was_interrupted_finds_its_jobs(tmp_path, stand_in):
    stand_in.fail_always("GetModelInvocationJob", Failure.error("ServiceUnavailableException"))
    assert warm(tmp_path).exit_code != 0
    stand_in.recover()
    resumed = warm(tmp_path)
    assert counted(resumed) == (3, 0, 0)
    assert stand_in.count("CreateModelInvocationJob") == 2


def test_a_job_that_was_asked_for_but_never_noted_is_the_same_job(tmp_path, stand_in):
    assert warm(tmp_path).exit_code == 0
    (tmp_path / "cache.db").unlink()
    for note in (tmp_path / "s3").rglob("job.json"):
        told = json.loads(note.read_text())
        note.write_text(json.dumps(told | {"arn": "", "done": False, "status": ""}))
    assert counted(warm(tmp_path)) == (3, 0, 0)
    assert len(list((tmp_path / "s3").rglob("records.jsonl.out"))) == 2


def test_given_answers_need_only_vectors(tmp_path, stand_in):
    file = tmp_path / "answers.jsonl"
    rows = [{"question": question, "answer": "Ask at the desk."} for question in QUESTIONS]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    given = ["--json", "warm", str(file), "--batch", "s3://bucket", "--batch-role", ROLE, "--model", CLAUDE]
    result = CliRunner().invoke(main, [*given, "--batch-folder", str(tmp_path / "s3"), "--poll", "0.01"])
    assert counted(result) == (3, 0, 0)
    assert stand_in.count("CreateModelInvocationJob") == 1


def test_records_that_fail_are_told_and_tried_again_by_the_next_run(tmp_path, stand_in):
    result = warm(tmp_path, "--model", "amazon.titan-embed-text-v2:0")  # no model that converses
    assert result.exit_code == 1
    assert counted(result) == (0, 0, 3)
    assert json.loads(result.stdout)["why"] == {"the batch job gave no answer": 3}
    assert warm(tmp_path, "--model", "amazon.titan-embed-text-v2:0").exit_code == 1
    assert {path.parent.parent.name for path in (tmp_path / "s3").rglob("records.jsonl.out")} != {"1"}


def test_a_job_that_fails_as_a_whole_says_which_and_the_next_run_begins_anew(tmp_path, monkeypatch):
    with BedrockStandIn(s3_folder=tmp_path / "s3", batch_least_records=100) as strict:
        for name in ("ENDPOINT_URL", "CONTROL_ENDPOINT_URL"):
            monkeypatch.setenv(f"YAMABIKO_BEDROCK__{name}", strict.url)
        result = warm(tmp_path)
        assert result.exit_code not in (0, 1)
        assert "ended as Failed" in result.stderr
        assert QUESTIONS[0] not in result.output
        warm(tmp_path)
        assert strict.count("CreateModelInvocationJob") > 2


def test_what_is_missing_is_said_before_anything_is_asked(tmp_path, stand_in):
    file = tmp_path / "questions.txt"
    file.write_text("Why?")
    result = CliRunner().invoke(main, ["warm", str(file), "--batch", "s3://bucket/a"])
    assert result.exit_code == 2
    assert "--model" in result.output
    for where, role in (("bucket/a", ROLE), ("s3://bucket/a", "batch")):
        with pytest.raises(ConfigurationError, match="--batch"):
            BatchInference(where, role=role, access=Access(), files=Access())
    assert stand_in.count() == 0


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as is asked for: PutObject, GetObject, ListObjectsV2 with pages of two."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("x-amz-decoded-content-length") or self.headers["Content-Length"]))
        self.server.objects[unquote(urlsplit(self.path).path)] = body
        self._say(200, b"")

    def do_GET(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if "list-type" in query:
            root, prefix = f"{parts.path.rstrip('/')}/", query.get("prefix", [""])[0]
            keys = sorted(key.removeprefix(root) for key in self.server.objects if key.startswith(root + prefix))
            start = int(query.get("continuation-token", ["0"])[0])
            items = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys[start : start + 2])
            more = start + 2 < len(keys)
            token = f"<NextContinuationToken>{start + 2}</NextContinuationToken>" if more else ""
            told = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}"
            self._say(200, f"<ListBucketResult>{told}</ListBucketResult>".encode())
        elif (body := self.server.objects.get(unquote(parts.path))) is not None:
            self._say(200, body)
        else:
            self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _say(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def bucket():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    server.objects = {}
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


def test_files_lie_in_s3_through_the_real_client(bucket):
    async def run():
        files = S3Files("warm-bucket", Access(region="us-east-1", endpoint_url=bucket, attempts=1))
        try:
            for name in ("a/1", "a/2", "a/3", "b/1"):
                await files.write(name, f"text of {name}, 日本語".encode())
            return await files.read("a/2"), await files.read("a/none"), await files.names("a/")
        finally:
            await files.close()

    read, none, names = asyncio.run(run())
    assert read == "text of a/2, 日本語".encode()
    assert none is None
    assert names == ["a/1", "a/2", "a/3"]


def test_a_bucket_that_refuses_is_a_service_error():
    async def run():
        files = S3Files("warm-bucket", Access(region="us-east-1", endpoint_url="http://127.0.0.1:9", attempts=1))
        try:
            await files.write("a", b"")
        finally:
            await files.close()

    with pytest.raises(ServiceError):
        asyncio.run(run())
