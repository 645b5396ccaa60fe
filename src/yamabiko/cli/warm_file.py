"""What ``yamabiko warm`` reads: questions, with their answers or without. All of it is checked before any is stored."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.types import Request

Format: TypeAlias = Literal["jsonl", "csv", "text"]

_FORMATS: Mapping[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "text"}
_COLUMNS = ("question", "answer", "tenant", "user", "model", "system", "knowledge", "tags")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question, and its answer where the file gives one."""

    request: Request
    answer: str | None = field(repr=False)


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the file; None means that the option's value holds."""

    question: str
    answer: str | None = None
    tenant: str | None = None
    user: str | None = None
    model: str | None = None
    system: str | None = None
    knowledge: str | None = None
    tags: list[str] | None = None


def read_rows(file: str, format_: Format | None, defaults: Mapping[str, str], tags: tuple[str, ...]) -> list[Row]:
    """All rows of a file, or of standard input for ``-``; ``defaults`` hold where a row says nothing.

    Raises ``ConfigurationError``, with the line's number and without its text.
    """
    chosen = format_ or _FORMATS.get(Path(file).suffix.lower())
    if chosen is None:
        raise ConfigurationError(f"the name of {file} does not tell its format: say --format jsonl, csv or text")
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = data.decode("utf-8-sig")  # spreadsheets put a byte order mark before their CSV
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8: save it as UTF-8") from None
    readers: Mapping[Format, Callable[[str], Iterator[tuple[int, _Line]]]] = {
        "jsonl": _json_lines,
        "csv": _csv_rows,
        "text": _plain,
    }
    rows = []
    for number, line in readers[chosen](text):
        if not line.question.strip():
            raise ConfigurationError(f"line {number}: the question is empty")
        parts = {name: getattr(line, name) for name in ("tenant", "user", "model", "system", "knowledge")}
        given = {name: defaults[name] if value is None else value for name, value in parts.items()}
        try:
            request = Request(line.question, **given, tags=(*tags, *(line.tags or ())))
        except InvalidRequest as error:
            raise ConfigurationError(f"line {number}: {error}") from None
        rows.append(Row(request=request, answer=line.answer))
    return rows


def _json_lines(text: str) -> Iterator[tuple[int, _Line]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=_Line)
            except msgspec.ValidationError as error:
                raise ConfigurationError(f"line {number}: {error}") from None
            except (msgspec.DecodeError, UnicodeEncodeError):
                raise ConfigurationError(f"line {number} is not a JSON object") from None


def _csv_rows(text: str) -> Iterator[tuple[int, _Line]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns = reader.fieldnames or ()
    unknown = [name for name in columns if name not in _COLUMNS]
    if "question" not in columns or unknown:
        raise ConfigurationError(
            f"the first line must name the columns: question, and any of {', '.join(_COLUMNS[1:])}"
        )
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ConfigurationError(f"line {reader.line_num} has not as many fields as the first line")
            given = {name: value for name, value in row.items() if value}
            tags = [tag.strip() for tag in given.pop("tags", "").split(";") if tag.strip()]
            yield reader.line_num, _Line(**{"question": "", **given}, tags=tags or None)
    except csv.Error as error:
        raise ConfigurationError(f"line {reader.line_num}: {error}") from None


def _plain(text: str) -> Iterator[tuple[int, _Line]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _Line(question=line.strip())
