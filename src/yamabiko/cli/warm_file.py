"""What ``yamabiko warm`` reads: questions, with their answers or without. All of it is checked before any is stored."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal, TypeAlias

import msgspec

from yamabiko.cli.warm_source import Source
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.types import Request, Vector

Format: TypeAlias = Literal["jsonl", "csv", "text", "access-log"]
Ask: TypeAlias = Callable[[str, Mapping[str, str], tuple[str, ...]], tuple[Request, Request]]
"""A question with what a line says of it (tenant, user, model, system, knowledge) and its tags, as two requests: as the
cache is asked, and as the model is. Raises ``InvalidRequest``."""

_FORMATS: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".txt": "text",
    ".log": "access-log",
}
_COLUMNS = ("question", "answer", "tenant", "user", "model", "system", "knowledge", "tags", "requests")
_SAID = ("tenant", "user", "model", "system", "knowledge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question, and its answer where the file gives one.

    ``request``: as the cache is asked. ``asked``: as the model is. ``requests``: how often people have asked it.
    ``vector``: where it is known already, (dim,) float32.
    """

    request: Request
    asked: Request
    answer: str | None = field(default=None, repr=False)
    requests: int = 1
    vector: Vector | None = field(default=None, repr=False, compare=False)


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
    requests: int = 1


def format_of(name: str, chosen: Format | None) -> Format:
    """What a file is, as its name tells where nobody says it. Raises ``ConfigurationError``."""
    found = chosen or _FORMATS.get(PurePath(name.removesuffix(".gz")).suffix.lower())
    if found is None:
        raise ConfigurationError(
            f"the name of {name} does not tell its format: say --format jsonl, csv, text or access-log"
        )
    return found


def plainly(defaults: Mapping[str, str], version: Callable[[str], str] = str) -> Ask:
    """Asks as a line says, and as the options say where it says nothing. ``version``: of what knowledge says."""

    def ask(question: str, said: Mapping[str, str], tags: tuple[str, ...]) -> tuple[Request, Request]:
        told = {**defaults, **said}
        request = Request(question, **{**told, "knowledge": version(told.get("knowledge", ""))}, tags=tags)
        return request, request

    return ask


def read_rows(source: Source, format_: Format, ask: Ask, tags: tuple[str, ...]) -> list[Row]:
    """All rows of a file that is no access log. Raises ``ConfigurationError``, with the line's number, not its text."""
    readers: Mapping[Format, Callable[[str], Iterator[tuple[int, _Line]]]] = {
        "jsonl": _json_lines,
        "csv": _csv_rows,
        "text": _plain,
    }
    rows = []
    for number, line in readers[format_](source.text):
        if not line.question.strip():
            raise ConfigurationError(f"line {number}: the question is empty")
        if line.requests < 1:
            raise ConfigurationError(f"line {number}: requests must be 1 or more")
        said = {name: value for name in _SAID if (value := getattr(line, name)) is not None}
        try:
            request, asked = ask(line.question, said, (*tags, *(line.tags or ())))
        except InvalidRequest as error:
            raise ConfigurationError(f"line {number}: {error}") from None
        rows.append(Row(request=request, asked=asked, answer=line.answer, requests=line.requests))
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
            times = given.pop("requests", "1")
            requests = int(times) if times.isdecimal() and len(times) < 16 else 0
            yield reader.line_num, _Line(**{"question": "", **given}, tags=tags or None, requests=requests)
    except csv.Error as error:
        raise ConfigurationError(f"line {reader.line_num}: {error}") from None


def _plain(text: str) -> Iterator[tuple[int, _Line]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _Line(question=line.strip())
