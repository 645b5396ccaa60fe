"""Converse: a request is checked, answered, cut to its limits and counted; ConverseStream tells the same as events.

Source: API reference, "Converse" and "ConverseStream"; user guide, "Prompt caching" (read 2026-11-23).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from yamabiko.testing.bedrock.answering import Answer, Completion, Prompt, pieces_of
from yamabiko.testing.bedrock.checks import between, member
from yamabiko.testing.bedrock.faults import invalid
from yamabiko.testing.bedrock.guardrails import Guardrails, Verdict
from yamabiko.testing.bedrock.models import BedrockModel
from yamabiko.testing.bedrock.prompt_cache import PromptCache, Reading
from yamabiko.testing.bedrock.vectors import count_tokens, first_tokens

_MOST_TOKENS = 4_096
_MOST_STOP_SEQUENCES = 2_500
_BLOCKS = frozenset(
    {
        *("text", "image", "document", "video", "audio", "toolUse", "toolResult", "guardContent", "cachePoint"),
        *("reasoningContent", "citationsContent", "searchResult"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversed:
    """An answer, ready to be told whole or in pieces."""

    text: str = field(repr=False)
    completion: Completion
    stop_reason: str
    usage: Mapping[str, Any]
    trace: Mapping[str, Any] | None
    latency_ms: int

    def response(self) -> dict[str, Any]:
        """The body of Converse."""
        content: list[dict[str, Any]] = []
        if self.completion.reasoning:
            reasoning = {"text": self.completion.reasoning, "signature": "stand-in"}
            content.append({"reasoningContent": {"reasoningText": reasoning}})
        if self.text:
            content.append({"text": self.text})
        content += [
            {"toolUse": {"toolUseId": use.id, "name": use.name, "input": dict(use.input)}}
            for use in self.completion.tool_uses
        ]
        told: dict[str, Any] = {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": self.stop_reason,
            "usage": self.usage,
            "metrics": {"latencyMs": self.latency_ms},
        }
        return told if self.trace is None else told | {"trace": {"guardrail": self.trace}}

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of ConverseStream; ``metadata`` comes after ``messageStop``. Only tool use has a block's start."""
        yield "messageStart", {"role": "assistant"}
        index = 0
        if self.completion.reasoning:
            parts = [{"text": self.completion.reasoning}, {"signature": "stand-in"}]
            for part in parts:
                yield "contentBlockDelta", {"delta": {"reasoningContent": part}, "contentBlockIndex": index}
            yield "contentBlockStop", {"contentBlockIndex": index}
            index += 1
        if self.text:
            for piece in pieces_of(self.completion, self.text):
                yield "contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": index}
            yield "contentBlockStop", {"contentBlockIndex": index}
            index += 1
        for use in self.completion.tool_uses:
            start = {"toolUse": {"toolUseId": use.id, "name": use.name}}
            yield "contentBlockStart", {"start": start, "contentBlockIndex": index}
            told = json.dumps(dict(use.input), ensure_ascii=False)
            for at in range(0, len(told), 16):
                delta = {"toolUse": {"input": told[at : at + 16]}}
                yield "contentBlockDelta", {"delta": delta, "contentBlockIndex": index}
            yield "contentBlockStop", {"contentBlockIndex": index}
            index += 1
        yield "messageStop", {"stopReason": self.stop_reason}
        metadata: dict[str, Any] = {"usage": self.usage, "metrics": {"latencyMs": self.latency_ms}}
        yield "metadata", metadata if self.trace is None else metadata | {"trace": {"guardrail": self.trace}}


async def converse(
    model: BedrockModel,
    body: Mapping[str, Any],
    answer: Answer,
    *,
    guardrails: Guardrails,
    prompt_cache: PromptCache,
    now: float,
    latency_ms: int,
) -> Conversed:
    """Answer one request; raises ``Refused``."""
    if model.kind != "chat":
        raise invalid(
            "This action doesn't support the model that you provided. Try again with a supported text or chat"
        )
    prompt = check_request(model, body)
    verdict = guardrails.of(body.get("guardrailConfig"))
    if verdict is not None and verdict.blocks(prompt.context):
        return _intervened(verdict, verdict.on_input, _input_only(prompt), latency_ms)
    reading = prompt_cache.read(model, body, now=now)
    if reading.total > model.window_tokens:
        raise invalid("Input is too long for requested model.")
    given = answer(prompt)
    if inspect.isawaitable(given):
        given = await given
    completion = Completion(text=given) if isinstance(given, str) else given
    text, stop_reason = limited(completion, body.get("inferenceConfig") or {})
    usage = _usage(completion, text, reading)
    if verdict is not None and verdict.blocks(text):
        return _intervened(verdict, verdict.on_output, usage, latency_ms)
    trace = verdict.trace(intervened=False) if verdict is not None else None
    return Conversed(
        text=text,
        completion=completion,
        stop_reason=stop_reason,
        usage=usage,
        trace=trace,
        latency_ms=latency_ms,
    )


def check_request(model: BedrockModel, body: Mapping[str, Any]) -> Prompt:
    """The prompt of a Converse request; raises ``Refused`` for what the service would not take."""
    messages = member(body, "messages", list)
    system = member(body, "system", list, required=False) or []
    _check_messages(messages)
    _check_inference(member(body, "inferenceConfig", dict, required=False) or {})
    tools = _check_tools(member(body, "toolConfig", dict, required=False), messages)
    said = [block["text"] for block in messages[-1]["content"] if "text" in block]
    return Prompt(
        model=model.id,
        text=said[-1] if said else "",
        system="\n".join(block["text"] for block in system if "text" in block),
        messages=messages,
        tools=tools,
    )


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise invalid("A conversation must start with a user message. Try again with a conversation that starts so.")
    for number, message in enumerate(messages):
        role = member(message, "role", str, where=f"messages.{number}.")
        if role not in ("user", "assistant"):
            raise invalid(f"1 validation error detected: Value at 'messages.{number}.role' is not a role")
        if role != ("user" if number % 2 == 0 else "assistant"):
            raise invalid(
                "A conversation must start with a user message."
                if number == 0
                else "A conversation must alternate between user and assistant roles."
            )
        content = member(message, "content", list, where=f"messages.{number}.")
        if not content:
            raise invalid(f"The content field in the Message object at messages.{number} is empty.")
        for at, block in enumerate(content):
            _check_block(block, f"messages.{number}.content.{at}")


def _check_block(block: Any, where: str) -> None:
    if not isinstance(block, dict) or len(block) != 1 or next(iter(block)) not in _BLOCKS:
        raise invalid(f"1 validation error detected: Value at '{where}' must be one content block")
    if "text" in block and (not isinstance(block["text"], str) or not block["text"].strip()):
        raise invalid(f"The text field in the ContentBlock object at {where} is blank. Add text, and try again.")


def _check_inference(config: Mapping[str, Any]) -> None:
    tokens = member(config, "maxTokens", int, where="inferenceConfig.", required=False)
    between(tokens, 1, 2**31 - 1, "inferenceConfig.maxTokens")
    for key in ("temperature", "topP"):
        value = member(config, key, (int, float), where="inferenceConfig.", required=False)
        between(value, 0, 1, f"inferenceConfig.{key}")
    stops = member(config, "stopSequences", list, where="inferenceConfig.", required=False) or []
    between(len(stops), 0, _MOST_STOP_SEQUENCES, "inferenceConfig.stopSequences")
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise invalid("1 validation error detected: Value at 'inferenceConfig.stopSequences' must not be empty")


def _check_tools(config: Mapping[str, Any] | None, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    uses = any(
        key in block for message in messages for block in message["content"] for key in ("toolUse", "toolResult")
    )
    if config is None:
        if uses:
            raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return []
    tools = member(config, "tools", list, where="toolConfig.")
    specs = [tool["toolSpec"] for tool in tools if "toolSpec" in tool]
    if not specs:
        raise invalid("1 validation error detected: Value at 'toolConfig.tools' must hold a tool")
    for spec in specs:
        member(spec, "name", str, where="toolConfig.tools.toolSpec.")
        member(spec, "inputSchema", dict, where="toolConfig.tools.toolSpec.")
    _check_results(messages)
    return specs


def _check_results(messages: Sequence[Mapping[str, Any]]) -> None:
    for before, message in pairwise(messages):
        wanted = {block["toolUse"].get("toolUseId") for block in before["content"] if "toolUse" in block}
        given = {block["toolResult"].get("toolUseId") for block in message["content"] if "toolResult" in block}
        if wanted and wanted - given:
            raise invalid("Expected toolResult blocks for every toolUse block of the message before.")
        if given - wanted:
            raise invalid("The number of toolResult blocks exceeds the number of toolUse blocks of previous turn.")


def limited(completion: Completion, config: Mapping[str, Any]) -> tuple[str, str]:
    """The text within ``stopSequences`` and ``maxTokens``, and why it ends."""
    text, reason = completion.text, completion.stop_reason
    ends = [text.index(stop) for stop in config.get("stopSequences") or () if stop in text]
    if ends:
        text, reason = text[: min(ends)], "stop_sequence"
    limit = config.get("maxTokens", _MOST_TOKENS)
    if count_tokens(text) > limit:
        text, reason = first_tokens(text, limit), "max_tokens"
    return text, reason or ("tool_use" if completion.tool_uses else "end_turn")


def _usage(completion: Completion, text: str, reading: Reading) -> dict[str, Any]:
    fresh = reading.fresh if completion.input_tokens is None else completion.input_tokens
    said = "".join([completion.reasoning, text, *(json.dumps(dict(use.input)) for use in completion.tool_uses)])
    output = count_tokens(said) if completion.output_tokens is None else completion.output_tokens
    usage: dict[str, Any] = {
        "inputTokens": fresh,
        "outputTokens": output,
        "totalTokens": fresh + output + reading.read + reading.written,
        "cacheReadInputTokens": reading.read,
        "cacheWriteInputTokens": reading.written,
    }
    if reading.written:
        usage["cacheDetails"] = [{"ttl": reading.ttl, "inputTokens": reading.written}]
    return usage


def _input_only(prompt: Prompt) -> dict[str, Any]:
    tokens = count_tokens(prompt.context)
    return {"inputTokens": tokens, "outputTokens": 0, "totalTokens": tokens}


def _intervened(verdict: Verdict, message: str, usage: Mapping[str, Any], latency_ms: int) -> Conversed:
    return Conversed(
        text=message,
        completion=Completion(text=message),
        stop_reason="guardrail_intervened",
        usage=usage,
        trace=verdict.trace(intervened=True),
        latency_ms=latency_ms,
    )
