"""Amazon Bedrock for tests and the demo: a local server that the real AWS clients take through ``endpoint_url``.

``docs/bedrock-stand-in.md`` says what it models and what it doesn't. Start reading at ``stand_in``.
"""

from yamabiko.testing.bedrock.answering import Completion, Prompt, ToolUse, default_answer
from yamabiko.testing.bedrock.calls import Call
from yamabiko.testing.bedrock.eventstream import encode_event, encode_exception, encode_message
from yamabiko.testing.bedrock.faults import Failure
from yamabiko.testing.bedrock.knowledge import DATA_SOURCE
from yamabiko.testing.bedrock.models import CATALOGUE, BedrockModel
from yamabiko.testing.bedrock.stand_in import BedrockStandIn
from yamabiko.testing.bedrock.vectors import count_tokens, hashed_ngrams

__all__ = [
    "CATALOGUE",
    "DATA_SOURCE",
    "BedrockModel",
    "BedrockStandIn",
    "Call",
    "Completion",
    "Failure",
    "Prompt",
    "ToolUse",
    "count_tokens",
    "default_answer",
    "encode_event",
    "encode_exception",
    "encode_message",
    "hashed_ngrams",
]
