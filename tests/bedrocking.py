"""The real boto3 clients, pointed at a stand-in."""

import functools
import json
from contextlib import ExitStack, contextmanager

import boto3
from botocore.config import Config

KEYS = ("AKIDSTANDIN", "a secret that signs")
CHAT = "amazon.nova-lite-v1:0"
HAIKU = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
BASE = "KBSTANDIN1"


@functools.cache
def session():
    return boto3.Session(aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1], region_name="ap-northeast-1")


@contextmanager
def connected(stand_in, *services, attempts=0, read_timeout=20, keys=KEYS):
    """One client for each service, or the only one; closed at the end."""
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts + 1}, read_timeout=read_timeout)
    with ExitStack() as stack:
        clients = []
        for service in services:
            client = session().client(
                service,
                endpoint_url=stand_in.url,
                aws_access_key_id=keys[0],
                aws_secret_access_key=keys[1],
                config=config,
            )
            stack.callback(client.close)
            clients.append(client)
        yield clients[0] if len(clients) == 1 else clients


def embedding(runtime, model, **body):
    return json.loads(runtime.invoke_model(modelId=model, body=json.dumps(body))["body"].read())


def said(text):
    return [{"role": "user", "content": [{"text": text}]}]


def settings(base=BASE, model=CHAT, **more):
    return {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {"knowledgeBaseId": base, "modelArn": model, **more},
    }
