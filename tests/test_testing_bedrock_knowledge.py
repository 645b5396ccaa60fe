"""Knowledge bases, reranking and batch jobs of the stand-in, through the real boto3."""

import json

import pytest
from botocore.exceptions import ClientError

from bedrocking import BASE, CHAT, TITAN, connected, said, settings
from yamabiko.testing import FakeClock
from yamabiko.testing.bedrock import DATA_SOURCE, BedrockStandIn

DOCUMENTS = {
    "s3://docs/fuji.ja.txt": ("富士山の高さは3,776メートルです。富士山は静岡県と山梨県にあります。", "ja", 2024),
    "s3://docs/fuji.en.txt": ("Mount Fuji is 3,776 metres high. It stands in Shizuoka and Yamanashi.", "en", 2025),
    "s3://docs/biwa.ja.txt": ("琵琶湖の面積は670平方キロメートルです。琵琶湖は滋賀県にあります。", "ja", 2025),
    "s3://docs/biwa.en.txt": ("Lake Biwa covers 670 square kilometres. It lies in Shiga.", "en", 2026),
}
RERANKER = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"


def filled(stand_in):
    for uri, (text, language, year) in DOCUMENTS.items():
        labels = [language, uri.rpartition("/")[2][:4]]
        stand_in.put_document(BASE, uri, text, {"language": language, "year": year, "labels": labels})
    return stand_in


@pytest.fixture(scope="module")
def stand_in():
    with filled(BedrockStandIn(page_results=3)) as running:
        running.ingest(BASE)
        running.put_guardrail("gr1", ["secret"], on_input="いえません", on_output="いえません")
        yield running


@pytest.fixture(scope="module")
def agent(stand_in):
    with connected(stand_in, "bedrock-agent-runtime") as client:
        yield client


def uris(agent, query, **search):
    request = {"retrievalConfiguration": {"vectorSearchConfiguration": search}} if search else {}
    told = agent.retrieve(knowledgeBaseId=BASE, retrievalQuery={"text": query}, **request)
    return [result["location"]["s3Location"]["uri"] for result in told["retrievalResults"]]


# ---------------------------------------------------------------------- Retrieve


@pytest.mark.parametrize("kind", ["SEMANTIC", "HYBRID"])
@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("How high is Mount Fuji?", "s3://docs/fuji.en.txt"),
        ("富士山の高さは？", "s3://docs/fuji.ja.txt"),
        ("How many square kilometres does Lake Biwa cover?", "s3://docs/biwa.en.txt"),
        ("琵琶湖の面積は？", "s3://docs/biwa.ja.txt"),
    ],
)
def test_the_passage_that_says_it_comes_first(agent, query, first, kind):
    assert uris(agent, query, overrideSearchType=kind)[0] == first


def test_results_are_as_many_as_asked_for_page_by_page_best_first(agent):
    assert len(uris(agent, "富士山", numberOfResults=1)) == 1
    query = {"knowledgeBaseId": BASE, "retrievalQuery": {"text": "富士山"}}
    first = agent.retrieve(**query)
    second = agent.retrieve(**query, nextToken=first["nextToken"])
    scores = [result["score"] for page in (first, second) for result in page["retrievalResults"]]
    assert (len(scores), scores) == (4, sorted(scores, reverse=True))
    assert "nextToken" not in second
    with pytest.raises(agent.exceptions.ValidationException):
        agent.retrieve(**query, nextToken="nonsense")


def test_a_result_has_its_text_location_metadata_and_score(agent):
    told = agent.retrieve(knowledgeBaseId=BASE, retrievalQuery={"text": "琵琶湖の面積"})["retrievalResults"][0]
    assert told["content"]["text"] == DOCUMENTS["s3://docs/biwa.ja.txt"][0]
    assert told["metadata"]["language"] == "ja"
    assert told["metadata"]["x-amz-bedrock-kb-source-uri"] == "s3://docs/biwa.ja.txt"
    assert 0 <= told["score"] <= 1


FILTERS = [
    ({"equals": {"key": "language", "value": "ja"}}, {"fuji.ja", "biwa.ja"}),
    ({"notEquals": {"key": "language", "value": "ja"}}, {"fuji.en", "biwa.en"}),
    ({"greaterThan": {"key": "year", "value": 2025}}, {"biwa.en"}),
    ({"greaterThanOrEquals": {"key": "year", "value": 2025}}, {"fuji.en", "biwa.ja", "biwa.en"}),
    ({"lessThan": {"key": "year", "value": 2025}}, {"fuji.ja"}),
    ({"lessThanOrEquals": {"key": "year", "value": 2025}}, {"fuji.ja", "fuji.en", "biwa.ja"}),
    ({"in": {"key": "year", "value": [2024, 2026]}}, {"fuji.ja", "biwa.en"}),
    ({"notIn": {"key": "year", "value": [2024, 2026]}}, {"fuji.en", "biwa.ja"}),
    ({"startsWith": {"key": "language", "value": "e"}}, {"fuji.en", "biwa.en"}),
    ({"stringContains": {"key": "language", "value": "a"}}, {"fuji.ja", "biwa.ja"}),
    ({"listContains": {"key": "labels", "value": "biwa"}}, {"biwa.ja", "biwa.en"}),
    ({"equals": {"key": "absent", "value": 1}}, set()),
    (
        {"andAll": [{"equals": {"key": "language", "value": "ja"}}, {"greaterThan": {"key": "year", "value": 2024}}]},
        {"biwa.ja"},
    ),
    (
        {"orAll": [{"equals": {"key": "year", "value": 2024}}, {"equals": {"key": "year", "value": 2026}}]},
        {"fuji.ja", "biwa.en"},
    ),
]


@pytest.mark.parametrize(("condition", "names"), FILTERS, ids=[next(iter(condition)) for condition, _ in FILTERS])
def test_filters_keep_the_documents_that_match(agent, condition, names):
    found = uris(agent, "富士山 Mount Fuji", filter=condition, numberOfResults=3)
    assert {uri.removeprefix("s3://docs/").removesuffix(".txt") for uri in found} == names


def test_reranking_is_accepted_and_cuts_the_list(agent):
    config = {
        "type": "BEDROCK_RERANKING_MODEL",
        "bedrockRerankingConfiguration": {
            "modelConfiguration": {"modelArn": RERANKER},
            "numberOfRerankedResults": 1,
        },
    }
    assert uris(agent, "琵琶湖の面積", rerankingConfiguration=config) == ["s3://docs/biwa.ja.txt"]


@pytest.mark.parametrize(
    ("base", "text", "search", "code"),
    [
        ("UNKNOWN123", "富士山", {}, "ResourceNotFoundException"),
        ("not a base", "富士山", {}, "ValidationException"),
        (BASE, "山" * 20_001, {}, "ValidationException"),
        (BASE, " ", {}, "ValidationException"),
        (BASE, "富士山", {"numberOfResults": 101}, "ValidationException"),
        (BASE, "富士山", {"overrideSearchType": "LEXICAL"}, "ValidationException"),
    ],
)
def test_retrieve_refuses_what_the_service_refuses(agent, base, text, search, code):
    with pytest.raises(ClientError) as caught:
        agent.retrieve(
            knowledgeBaseId=base,
            retrievalQuery={"text": text},
            retrievalConfiguration={"vectorSearchConfiguration": search},
        )
    assert caught.value.response["Error"]["Code"] == code
    assert "山" not in str(caught.value)


def test_a_query_of_exactly_20000_characters_is_taken(agent):
    assert uris(agent, "富士山の" + "山" * 19_996)


# ---------------------------------------------------------------------- ingestion


def test_documents_are_found_after_an_ingestion_job_and_not_before():
    clock = FakeClock()
    with (
        filled(BedrockStandIn(clock=clock, ingestion_seconds=60.0)) as own,
        connected(own, "bedrock-agent-runtime", "bedrock-agent") as (agent, build),
    ):
        where = {"knowledgeBaseId": BASE, "dataSourceId": DATA_SOURCE}

        def status(job):
            return build.get_ingestion_job(**where, ingestionJobId=job)["ingestionJob"]["status"]

        assert uris(agent, "富士山") == []
        job = build.start_ingestion_job(**where)["ingestionJob"]
        assert (job["status"], status(job["ingestionJobId"])) == ("STARTING", "STARTING")
        clock.advance(30.0)
        assert (status(job["ingestionJobId"]), uris(agent, "富士山")) == ("IN_PROGRESS", [])
        with pytest.raises(build.exceptions.ConflictException):
            build.start_ingestion_job(**where)
        clock.advance(30.0)
        assert len(uris(agent, "富士山")) == 4
        assert status(job["ingestionJobId"]) == "COMPLETE"


def test_edits_and_removals_are_counted_and_seen_after_the_next_job():
    with (
        filled(BedrockStandIn()) as own,
        connected(own, "bedrock-agent-runtime", "bedrock-agent") as (agent, build),
    ):
        assert own.ingest(BASE)["numberOfNewDocumentsIndexed"] == 4
        own.put_document(BASE, "s3://docs/fuji.ja.txt", "富士山は3,777メートルに伸びました。")
        own.remove_document(BASE, "s3://docs/biwa.ja.txt")
        assert len(uris(agent, "富士山")) == 4
        where = {"knowledgeBaseId": BASE, "dataSourceId": DATA_SOURCE}
        identifier = build.start_ingestion_job(**where)["ingestionJob"]["ingestionJobId"]
        statistics = build.get_ingestion_job(**where, ingestionJobId=identifier)["ingestionJob"]["statistics"]
        assert statistics["numberOfDocumentsScanned"] == 3
        assert statistics["numberOfModifiedDocumentsIndexed"] == 1
        assert statistics["numberOfDocumentsDeleted"] == 1
        assert statistics["numberOfNewDocumentsIndexed"] == 0
        found = agent.retrieve(knowledgeBaseId=BASE, retrievalQuery={"text": "富士山"})["retrievalResults"]
        assert found[0]["content"]["text"] == "富士山は3,777メートルに伸びました。"
        assert len(found) == 3
        for wrong in ({"ingestionJobId": "JOB9999999"}, {"ingestionJobId": identifier, "dataSourceId": "OTHER12345"}):
            with pytest.raises(build.exceptions.ResourceNotFoundException):
                build.get_ingestion_job(**{**where, **wrong})


def test_a_long_document_becomes_several_passages_that_together_are_its_text():
    long = "".join(f"第{number}章では山について述べます。" for number in range(120))
    with BedrockStandIn() as own, connected(own, "bedrock-agent-runtime") as agent:
        own.put_document(BASE, "s3://docs/long.txt", long)
        own.ingest(BASE)
        request = {"retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": 100}}}
        found = agent.retrieve(knowledgeBaseId=BASE, retrievalQuery={"text": "山"}, **request)["retrievalResults"]
    assert len(found) > 3
    assert sum(len(result["content"]["text"]) for result in found) == len(long)
    assert len({result["metadata"]["x-amz-bedrock-kb-chunk-id"] for result in found}) == len(found)


# ---------------------------------------------------------------------- RetrieveAndGenerate


@pytest.mark.parametrize(
    ("question", "answer", "source"),
    [
        ("How high is Mount Fuji?", "Mount Fuji is 3,776 metres high.", "s3://docs/fuji.en.txt"),
        ("富士山の高さは？", "富士山の高さは3,776メートルです。", "s3://docs/fuji.ja.txt"),
    ],
)
def test_an_answer_cites_where_it_stands_and_has_no_usage(agent, question, answer, source):
    told = agent.retrieve_and_generate(input={"text": question}, retrieveAndGenerateConfiguration=settings())
    assert told["output"]["text"] == answer
    part = told["citations"][0]["generatedResponsePart"]["textResponsePart"]
    assert told["output"]["text"][part["span"]["start"] : part["span"]["end"]] == part["text"]
    assert told["citations"][0]["retrievedReferences"][0]["location"]["s3Location"]["uri"] == source
    assert "usage" not in told
    assert "guardrailAction" not in told


def test_the_stream_has_its_session_in_a_header_and_the_same_text_and_citations(agent):
    request = {"input": {"text": "富士山の高さは？"}, "retrieveAndGenerateConfiguration": settings()}
    whole = agent.retrieve_and_generate(**request)
    response = agent.retrieve_and_generate_stream(**request)
    events = list(response["stream"])
    assert response["sessionId"] not in ("", whole["sessionId"])
    assert "".join(event["output"]["text"] for event in events if "output" in event) == whole["output"]["text"]
    citations = [event["citation"] for event in events if "citation" in event]
    assert [citation["citation"] for citation in citations] == whole["citations"]


def test_a_session_remembers_and_an_unknown_one_is_refused():
    asked = []

    def answer(prompt):
        asked.append([message["content"][0]["text"] for message in prompt.messages])
        return "3,776 m."

    with filled(BedrockStandIn(answer=answer)) as own, connected(own, "bedrock-agent-runtime") as agent:
        own.ingest(BASE)
        request = {"retrieveAndGenerateConfiguration": settings()}
        session = agent.retrieve_and_generate(input={"text": "How high is Fuji?"}, **request)["sessionId"]
        again = agent.retrieve_and_generate(input={"text": "And in feet?"}, sessionId=session, **request)
        assert again["sessionId"] == session
        assert asked == [["How high is Fuji?"], ["How high is Fuji?", "3,776 m.", "And in feet?"]]
        with pytest.raises(agent.exceptions.ValidationException):
            agent.retrieve_and_generate(input={"text": "And in feet?"}, sessionId="unknown", **request)


@pytest.mark.parametrize(
    ("text", "config", "code"),
    [
        ("x" * 1_001, settings(), "ValidationException"),
        ("x", settings(base="UNKNOWN123"), "ResourceNotFoundException"),
        ("x", settings(model=TITAN), "ValidationException"),
        ("x", settings(model="anthropic.nothing-v1:0"), "ValidationException"),
        ("x", {"type": "EXTERNAL_SOURCES"}, "ValidationException"),
        (
            "x",
            settings(generationConfiguration={"promptTemplate": {"textPromptTemplate": "Answer!"}}),
            "ValidationException",
        ),
        (
            "x",
            settings(retrievalConfiguration={"vectorSearchConfiguration": {"numberOfResults": 101}}),
            "ValidationException",
        ),
    ],
)
def test_retrieve_and_generate_refuses_what_the_service_refuses(agent, text, config, code):
    for call in (agent.retrieve_and_generate, agent.retrieve_and_generate_stream):
        with pytest.raises(ClientError) as caught:
            call(input={"text": text}, retrieveAndGenerateConfiguration=config)
        assert caught.value.response["Error"]["Code"] == code


def test_a_thousand_characters_are_taken_and_filters_and_limits_obeyed(agent):
    config = settings(
        retrievalConfiguration={
            "vectorSearchConfiguration": {"filter": {"equals": {"key": "language", "value": "en"}}}
        },
        generationConfiguration={"inferenceConfig": {"textInferenceConfig": {"maxTokens": 3}}},
    )
    question = "富士山の高さは？" + "？" * 992
    told = agent.retrieve_and_generate(input={"text": question}, retrieveAndGenerateConfiguration=config)
    references = [r for citation in told["citations"] for r in citation["retrievedReferences"]]
    assert all(reference["metadata"]["language"] == "en" for reference in references)
    assert len(told["output"]["text"].split()) <= 3


def test_a_guardrail_tells_its_action(agent):
    config = settings(
        generationConfiguration={"guardrailConfiguration": {"guardrailId": "gr1", "guardrailVersion": "1"}}
    )
    fine = agent.retrieve_and_generate(input={"text": "富士山の高さは？"}, retrieveAndGenerateConfiguration=config)
    assert fine["guardrailAction"] == "NONE"
    told = agent.retrieve_and_generate(input={"text": "a Secret"}, retrieveAndGenerateConfiguration=config)
    assert (told["guardrailAction"], told["output"]["text"]) == ("INTERVENED", "いえません")
    stream = agent.retrieve_and_generate_stream(input={"text": "a Secret"}, retrieveAndGenerateConfiguration=config)
    assert list(stream["stream"])[-1] == {"guardrail": {"action": "INTERVENED"}}


def test_with_nothing_retrieved_the_model_is_not_asked():
    def answer(_):
        raise AssertionError

    with BedrockStandIn(answer=answer) as own, connected(own, "bedrock-agent-runtime") as agent:
        own.put_document(BASE, "s3://docs/later.txt", "not yet ingested")
        told = agent.retrieve_and_generate(input={"text": "x"}, retrieveAndGenerateConfiguration=settings())
    assert told["output"]["text"].startswith("Sorry")
    assert not any(citation["retrievedReferences"] for citation in told["citations"])


# ---------------------------------------------------------------------- Rerank


def reranked(agent, texts, **more):
    config = {"modelConfiguration": {"modelArn": RERANKER}, **more}
    return agent.rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": "琵琶湖の面積は？"}}],
        sources=[
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}
            for text in texts
        ],
        rerankingConfiguration={"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": config},
    )["results"]


def test_rerank_puts_the_likeliest_text_first_and_names_it_by_index(agent):
    texts = [text for text, _, _ in DOCUMENTS.values()]
    assert reranked(agent, texts)[0]["index"] == 2
    assert [result["index"] for result in reranked(agent, texts, numberOfResults=1)] == [2]
    with pytest.raises(agent.exceptions.ValidationException):
        reranked(agent, texts, modelConfiguration={"modelArn": RERANKER.replace("cohere.rerank-v3-5:0", CHAT)})
    with pytest.raises(agent.exceptions.ValidationException):
        reranked(agent, ["山" * 32_001])


# ---------------------------------------------------------------------- batch inference


def batch(folder, records, *, model=TITAN, **more):
    (folder / "bucket" / "in").mkdir(parents=True, exist_ok=True)
    told = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in records)
    (folder / "bucket" / "in" / "questions.jsonl").write_text(told, "utf-8")
    return {
        "jobName": "warm-1",
        "roleArn": "arn:aws:iam::123456789012:role/batch",
        "modelId": model,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in/questions.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
        **more,
    }


def outputs(folder, arn):
    told = (folder / "bucket" / "out" / arn.rpartition("/")[2] / "questions.jsonl.out").read_text("utf-8")
    return [json.loads(line) for line in told.splitlines()]


def test_a_batch_job_embeds_every_record_and_tells_errors_apart(tmp_path):
    records = [
        {"recordId": "1", "modelInput": {"inputText": "富士山", "dimensions": 256}},
        {"recordId": "2", "modelInput": {"inputText": "x", "dimensions": 1_536}},
        "no json",
    ]
    clock = FakeClock()
    with (
        BedrockStandIn(s3_folder=tmp_path, clock=clock, batch_seconds=3_600.0) as own,
        connected(own, "bedrock", "bedrock-runtime") as (bedrock, runtime),
    ):
        arn = bedrock.create_model_invocation_job(**batch(tmp_path, records))["jobArn"]
        assert bedrock.get_model_invocation_job(jobIdentifier=arn)["status"] == "InProgress"
        clock.advance(3_600.0)
        told = bedrock.get_model_invocation_job(jobIdentifier=arn)
        assert (told["status"], told["totalRecordCount"], told["errorRecordCount"]) == ("Completed", 3, 2)
        good, bad, worse = outputs(tmp_path, arn)
        direct = json.loads(
            runtime.invoke_model(modelId=TITAN, body=json.dumps(records[0]["modelInput"]))["body"].read()
        )
        assert (good["recordId"], good["modelOutput"]) == ("1", direct)
        assert (bad["recordId"], bad["error"]["errorCode"]) == ("2", 400)
        assert "error" in worse


def test_a_batch_job_may_hold_converse_requests(tmp_path):
    records = [{"recordId": "a", "modelInput": {"messages": said("富士山？")}}]
    with BedrockStandIn(s3_folder=tmp_path) as own, connected(own, "bedrock") as bedrock:
        job = batch(tmp_path, records, model=CHAT, modelInvocationType="Converse")
        arn = bedrock.create_model_invocation_job(**job)["jobArn"]
        assert bedrock.get_model_invocation_job(jobIdentifier=arn)["status"] == "Completed"
        assert outputs(tmp_path, arn)[0]["modelOutput"]["stopReason"] == "end_turn"


def test_batch_jobs_are_checked_named_once_and_stopped(tmp_path):
    with (
        BedrockStandIn(s3_folder=tmp_path, batch_seconds=60.0, clock=FakeClock()) as own,
        connected(own, "bedrock") as bedrock,
    ):
        job = batch(tmp_path, [], clientRequestToken="token1")
        arn = bedrock.create_model_invocation_job(**job)["jobArn"]
        assert bedrock.create_model_invocation_job(**job)["jobArn"] == arn
        with pytest.raises(bedrock.exceptions.ConflictException):
            bedrock.create_model_invocation_job(**{**job, "clientRequestToken": "token2"})
        outside = {"s3InputDataConfig": {"s3Uri": "s3://bucket/../../x.jsonl"}}
        for wrong in ({"timeoutDurationInHours": 169}, {"roleArn": "me"}, {"inputDataConfig": outside}):
            with pytest.raises(bedrock.exceptions.ValidationException):
                bedrock.create_model_invocation_job(**{**job, "jobName": "other", "clientRequestToken": "t3", **wrong})
        bedrock.stop_model_invocation_job(jobIdentifier=arn)
        assert bedrock.get_model_invocation_job(jobIdentifier=arn)["status"] == "Stopped"
        with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
            bedrock.get_model_invocation_job(jobIdentifier=f"{arn[:-3]}999")


def test_a_batch_job_with_too_few_records_fails(tmp_path):
    with BedrockStandIn(s3_folder=tmp_path, batch_least_records=100) as own, connected(own, "bedrock") as bedrock:
        record = {"recordId": "1", "modelInput": {"inputText": "富士山"}}
        arn = bedrock.create_model_invocation_job(**batch(tmp_path, [record]))["jobArn"]
        assert bedrock.get_model_invocation_job(jobIdentifier=arn)["status"] == "Failed"
