"""What a response says, in any of the three APIs, streamed or not."""

import json


def text_of(response):
    """All its text. Raises ``ValueError`` for a document that is no JSON."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return "".join(texts(response.json(), ("content", "text")))
    events = [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: {")]
    deltas = [one for one in events if str(one.get("type", "delta" if "choices" in one else "")).endswith("delta")]
    return "".join(text for one in deltas for text in texts(one, ("content", "text", "delta")))


def is_whole(response):
    """Whether a stream came to its terminal event; a document always did."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return True
    last = response.text.rstrip("\n").rpartition("\n")[2]
    return last == "data: [DONE]" or json.loads(last[6:])["type"] in ("message_stop", "response.completed")


def texts(value, names):
    """The strings of these names, wherever they stand in a JSON value."""
    if isinstance(value, list):
        for one in value:
            yield from texts(one, names)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in names and isinstance(one, str):
                yield one
            yield from texts(one, names)
