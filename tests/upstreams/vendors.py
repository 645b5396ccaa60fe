"""What the simulated model server says in Anthropic's Messages and OpenAI's Responses: one document, or its events."""

import json
import re


def words_of(text):
    return re.findall(r"\s*\S+", text)


def event(value):
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def last_question(body):
    """The text of a request's last turn, in any of the three APIs."""
    turns = body.get("input") if "input" in body else body["messages"]
    content = turns if isinstance(turns, str) else turns[-1]["content"]
    return content if isinstance(content, str) else "blocks"


class Messages:
    path = "/messages"

    def __init__(self, number, body, text):
        self.text = text
        self.head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": body["model"]}
        self.usage = {"input_tokens": 11, "output_tokens": 7}

    def document(self):
        content = [{"type": "text", "text": self.text}]
        end = {"content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": self.usage}
        return self.head | end

    def listed(self):
        """The events: what begins a stream, its pieces, what follows on them, and its terminal event."""
        empty = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": self.usage | {"output_tokens": 1}}
        begin = [
            {"type": "message_start", "message": self.head | empty},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]
        pieces = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in words_of(self.text)
        ]
        end = [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 7},
            },
        ]
        return begin, pieces, end, [{"type": "message_stop"}]


class Responses:
    path = "/responses"

    def __init__(self, number, body, text):
        self.text = text
        self.item = f"msg_{number}"
        self.head = {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": 1_700_000_000 + number,
            "model": body["model"],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "store": True,
        }

    def _part(self, text):
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _message(self, status, content):
        return {"id": self.item, "type": "message", "role": "assistant", "status": status, "content": content}

    def document(self):
        usage = {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 18,
        }
        output = [self._message("completed", [self._part(self.text)])]
        return {**self.head, "status": "completed", "output": output, "usage": usage}

    def listed(self):
        """The events: what begins a stream, its pieces, what follows on them, and its terminal event."""
        empty = {**self.head, "status": "in_progress", "output": [], "usage": None}
        where = {"item_id": self.item, "output_index": 0, "content_index": 0}
        begin = [
            {"type": "response.created", "response": empty},
            {"type": "response.in_progress", "response": empty},
            {"type": "response.output_item.added", "output_index": 0, "item": self._message("in_progress", [])},
            {"type": "response.content_part.added", **where, "part": self._part("")},
        ]
        pieces = [
            {"type": "response.output_text.delta", **where, "delta": word, "logprobs": []}
            for word in words_of(self.text)
        ]
        whole = self._message("completed", [self._part(self.text)])
        end = [
            {"type": "response.output_text.done", **where, "text": self.text, "logprobs": []},
            {"type": "response.content_part.done", **where, "part": self._part(self.text)},
            {"type": "response.output_item.done", "output_index": 0, "item": whole},
        ]
        every = [*begin, *pieces, *end, {"type": "response.completed", "response": self.document()}]
        numbered = [{**one, "sequence_number": number} for number, one in enumerate(every)]
        first, last = len(begin), len(begin) + len(pieces)
        return numbered[:first], numbered[first:last], numbered[last:-1], numbered[-1:]


VENDORS = {vendor.path: vendor for vendor in (Messages, Responses)}
