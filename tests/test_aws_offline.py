"""The whole architecture on AWS, on this machine: ``make aws`` runs this and shows what happened.

An event of API Gateway, to Lambda's runtime API, to AWS's runtime client, to the handler; Titan for vectors; a Valkey in
cluster mode as MemoryDB, behind a guard that refuses what MemoryDB would, over TLS and with IAM tokens that are checked;
Converse for answers; and lines for CloudWatch. Everything of AWS is a stand-in, and speaks to AWS's own clients.
"""

import json
import signal
import sys
from collections import Counter

import jsonschema
import pytest

from engines.certificates import Certificates
from engines.guard import Guard, Iam
from engines.tokens import Secret
from functions.running import WHOLE, question, running
from test_aws_metrics import SCHEMA, extracted
from test_stores_memorydb import fresh_name
from yamabiko.testing.bedrock import BedrockStandIn

KEYS = ("AKIDFUNCTION", "a secret that signs")
SESSION = "the session of a role"
CLUSTER, REGION, USER = "shop", "ap-northeast-1", "cache-app"
MODEL = "amazon.nova-lite-v1:0"
ASKED = (
    ("http_api", "What is a mountain echo?", False, "miss"),
    ("http_api", "What is a mountain echo?", False, "exact"),
    ("function_url", "what is a mountain echo", False, "semantic"),
    ("alb", "What is a mountain echo?", True, "exact"),
    ("alb_multi_value", "山びことは何ですか？", True, "miss"),
    ("rest_api", "山びことは何ですか", False, "semantic"),
    ("http_api", "How is steel made?", True, "miss"),
    ("http_api", "How is steel made?", False, "exact"),
)


@pytest.fixture
def memorydb(cluster_engine, tmp_path):
    iam = Iam(CLUSTER, REGION, {KEYS[0]: Secret(KEYS[1], SESSION)}, users={USER})
    certificates = Certificates.make(tmp_path / "tls")
    with Guard(cluster_engine, profile="memorydb", certificates=certificates, iam=iam) as guard:
        yield guard


@pytest.fixture
def bedrock():
    with BedrockStandIn(credentials=dict([KEYS])) as stand_in:
        yield stand_in


def environment(memorydb, bedrock):
    login = f"auth=iam&cluster_name={CLUSTER}&region={REGION}&name={fresh_name()}"
    return {
        "YAMABIKO_URL": f"{memorydb.url}&{login}".replace("//", f"//{USER}@", 1),
        "YAMABIKO_EMBEDDER__KIND": "titan",
        "YAMABIKO_BEDROCK__REGION": REGION,
        "YAMABIKO_BEDROCK__ENDPOINT_URL": bedrock.url,
        "YAMABIKO_GATEWAY__UPSTREAMS": f"openai=bedrock:{MODEL}",
        "YAMABIKO_GATEWAY__EMF": "true",
        "YAMABIKO_DEPLOYMENT": "offline",
        # The stand-in's vectors are of letters and words: a threshold of their own, and no promise.
        "YAMABIKO_POLICY__MAX_ERROR_RATE": "none",
        "YAMABIKO_POLICY__MIN_SIMILARITY": "0.9",
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
        "AWS_SESSION_TOKEN": SESSION,
        "AWS_REGION": REGION,
    }


def asked(function, event, text, *, stream):
    """Tier and text of an answer."""
    told = function.invoke(question(text, event, stream=stream)).document
    assert told["statusCode"] == 200, told["body"]
    headers = told.get("headers") or {name: values[0] for name, values in told["multiValueHeaders"].items()}
    if not stream:
        said = json.loads(told["body"])["choices"][0]["message"]["content"]
    else:
        assert headers["content-type"].startswith("text/event-stream")
        frames = [json.loads(part[6:]) for part in told["body"].split("\n\n") if part.startswith("data: {")]
        said = "".join(frame["choices"][0]["delta"].get("content") or "" for frame in frames)
    return headers.get("x-yamabiko-tier", "miss"), said


@pytest.mark.parametrize("runtime", WHOLE)
def test_the_whole_architecture(runtime, memorydb, bedrock):
    with running(runtime, **environment(memorydb, bedrock)) as function:
        rows, answers = [], {}
        for event, text, stream, tier in ASKED:
            before = Counter(call.operation for call in bedrock.calls)
            found, said = asked(function, event, text, stream=stream)
            calls = Counter(call.operation for call in bedrock.calls) - before
            rows.append((event, text, found, calls))
            assert found == tier, text
            assert said == answers.setdefault(text[:6], said), "a hit says what was said before"
            assert calls["Converse"] + calls["ConverseStream"] == (tier == "miss")
            assert calls["InvokeModel"] == (tier != "exact")
        told = function.emf()
        shown = "".join(line for line in function.lines if not line.startswith('{"_aws"'))
    assert not shown, "nothing but lines for CloudWatch is written"
    _show(runtime, rows, told, memorydb)

    assert memorydb.logins
    assert set(memorydb.logins) == {(USER, None)}, "every connection had a good token"
    for line in told:
        jsonschema.validate(line, SCHEMA)
    found = extracted(json.dumps(line) for line in told)
    here = ("Deployment", "offline")
    tiers = Counter(tier for *_, tier in ASKED)
    assert {tier: sum(found["Requests", (here, ("Tier", tier))]) for tier in tiers} == tiers
    assert sum(found["HitRate", (here,)]) / len(ASKED) == pytest.approx(100 * (len(ASKED) - tiers["miss"]) / len(ASKED))
    assert sum(found["SavedUSD", (here,)]) > 0
    assert sum(found["SpentUSD", (here,)]) > 0
    for name in ("StoreErrors", "EmbedderErrors", "UpstreamErrors", "CertificateLost"):
        assert sum(found[name, (here,)]) == 0


@pytest.mark.parametrize("runtime", WHOLE)
def test_a_frozen_function_finds_its_connections_cut_and_goes_on(runtime, memorydb, bedrock):
    with running(runtime, **environment(memorydb, bedrock)) as function:
        assert asked(function, "http_api", "What is a mountain echo?", stream=False)[0] == "miss"
        for _ in range(2):
            function.process.send_signal(signal.SIGSTOP)
            memorydb.drop_connections()
            function.process.send_signal(signal.SIGCONT)
            assert asked(function, "http_api", "What is a mountain echo?", stream=False)[0] == "exact"
    assert set(memorydb.logins) == {(USER, None)}


def test_what_iam_refuses_is_told_where_the_function_begins(memorydb, bedrock):
    wrong = environment(memorydb, bedrock) | {"AWS_SECRET_ACCESS_KEY": "another secret"}
    with running("own", **wrong) as function:
        told = function.api.init_errors.get(timeout=30).document
    assert told["errorType"] == "ConfigurationError"
    assert "refuses these credentials" in told["errorMessage"]
    assert "another secret" not in json.dumps(told)


def _show(runtime, rows, told, memorydb):
    """For whoever runs this to see it."""
    lines = [f"\nLambda event -> {runtime} -> Titan -> MemoryDB (TLS, IAM) -> Converse -> EMF; all of AWS a stand-in"]
    for (event, text, tier, calls), line in zip(rows, told, strict=True):
        asked_for = ", ".join(sorted(calls)) or "nothing of Bedrock"
        lines.append(f"  {event:16} {tier:9} {1000 * line['LatencySeconds'][0]:7.1f} ms  {asked_for:28} {text}")
    logins = f"{len(memorydb.logins)} connections to MemoryDB, each with a token that was checked"
    sys.stdout.write("\n".join([*lines, f"  {logins}; {len(told)} lines for CloudWatch\n"]))
