"""The query language, parsed as the profile knows it and written out again as RediSearch understands it."""

import re
from dataclasses import dataclass

from engines.profiles import Profile, syntax

_FIELD = re.compile(r"@([A-Za-z0-9_]+)\s*:\s*")
_NUMBER = re.compile(r"\(?[+-]?(inf|\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+)\Z", re.IGNORECASE)
_PLAIN_TAG = re.compile(r"(?:[A-Za-z0-9_\u0080-\U0010ffff]|\\.)+\Z", re.DOTALL)
_KNN = re.compile(
    r"\[\s*KNN\s+(?P<k>\$?\w+)\s+@(?P<field>\w+)\s+\$(?P<blob>\w+)"
    r"(?:\s+EF_RUNTIME\s+(?P<ef>\$?\w+))?(?:\s+AS\s+(?P<alias>\w+))?\s*\]\s*\Z",
    re.IGNORECASE,
)
_RANGE = re.compile(r"\[\s*VECTOR_RANGE\s+(?P<radius>\$?[\w.]+)\s+\$(?P<blob>\w+)\s*\]", re.IGNORECASE)
_YIELDS = re.compile(r"\s*=>\s*\{(?P<pairs>[^{}]*)\}")
_PAIR = re.compile(r"\s*\$(yield_distance_as|epsilon)\s*:\s*([\w.]+)\s*\Z", re.IGNORECASE)


@dataclass
class Query:
    filter: str  # as RediSearch reads it
    params: frozenset  # the names of the parameters it uses
    blobs: tuple = ()  # (parameter, field) of each vector
    k: int | None = None
    knn_field: str | None = None
    ef: int | None = None
    score: str | None = None  # under which name the distance comes back

    def text(self, *, more=0) -> str:
        """The whole query; ``more`` neighbours than asked for."""
        if self.k is None:
            return self.filter
        [(blob, _)] = self.blobs
        ef = "" if self.ef is None else f" EF_RUNTIME {self.ef}"
        return f"{self.filter}=>[KNN {self.k + more} @{self.knn_field} ${blob}{ef} AS {self.score}]"


def parse(text: str, profile: Profile, definition, params: dict) -> Query:
    """Refuses what the profile's language lacks, and fields that the index lacks."""
    head, arrow, tail = _split_knn(text)
    parser = _Filter(head, profile, definition)
    if not arrow:
        if not profile.filter_only:
            raise syntax("Invalid filter format. Missing `=>`")
        if head.strip() == "*" and not profile.star_only:
            raise syntax("Invalid query string syntax")
        written = parser.whole()
        return Query(written, frozenset(parser.params), tuple(parser.blobs), score=parser.score)
    written = parser.whole()
    if parser.blobs:
        raise syntax("VECTOR_RANGE can't stand before KNN")
    return _knn(tail, written, profile, definition, params)


def _split_knn(text):
    match = re.search(r"=>\s*\[", text)
    if match is None:
        return text, False, ""
    return text[: match.start()], True, text[match.start() + 2 :].strip()


def _knn(tail, written, profile, definition, params):
    match = _KNN.match(tail)
    if match is None:
        raise syntax(f"Invalid KNN clause near `{tail[:20]}`")
    used = {match["blob"]}
    k = _whole_number(match["k"], "K", profile.max_k, params, used)
    ef = None if match["ef"] is None else _whole_number(match["ef"], "EF_RUNTIME", 1_000_000, params, used)
    if ef is not None and not profile.waits_for_index and ef > profile.max_ef:
        raise syntax(f"EF_RUNTIME must be at most {profile.max_ef}")
    name = definition.field(match["field"], "VECTOR")
    score = match["alias"] or f"__{name}_score"
    return Query(written, frozenset(used), ((match["blob"], name),), k, name, ef, score)


def _whole_number(text, what, limit, params, used):
    if text.startswith("$"):
        used.add(text[1:])
        text = params.get(text[1:], b"").decode(errors="replace")
    if not text.isdecimal() or not 1 <= int(text) <= limit:
        raise syntax(f"{what} must be a whole number from 1 to {limit}")
    return int(text)


class _Filter:
    """Recursive descent: alternatives of sequences of terms. AND binds more tightly than OR."""

    def __init__(self, text, profile, definition):
        self._text = text
        self._at = 0
        self._profile = profile
        self._definition = definition
        self.params = set()
        self.blobs = []
        self.score = None

    def whole(self) -> str:
        if self._text.strip() == "*":
            return "*"
        written = self._alternatives()
        if self._at < len(self._text):
            raise self._unexpected()
        return f"({written})"

    def _alternatives(self):
        written = [self._sequence()]
        while self._take("|"):
            written.append(self._sequence())
        return "|".join(f"({one})" for one in written) if len(written) > 1 else written[0]

    def _sequence(self):
        written = [self._term()]
        while self._peek() not in ("", "|", ")"):
            written.append(self._term())
        return " ".join(written)

    def _term(self):
        if self._take("("):
            written = self._alternatives()
            if not self._take(")"):
                raise syntax("Missing closing parenthesis")
            return f"({written})"
        if self._peek() == "-" and self._profile.negation:
            self._at += 1
            return f"(-{self._term()})"
        self._peek()
        match = _FIELD.match(self._text, self._at)
        if match is None:
            raise self._unexpected()
        self._at = match.end()
        if self._take("{"):
            return self._tags(self._definition.field(match[1], "TAG"))
        if self._peek() == "[":
            return self._bracket(match[1])
        raise self._unexpected()

    def _tags(self, name):
        end = re.compile(r"(?:[^\\}]|\\.)*", re.DOTALL).match(self._text, self._at).end()
        inside, self._at = self._text[self._at : end], end + 1
        if self._at > len(self._text):
            raise syntax("Missing closing TAG bracket, '}'")
        values = [value.strip(" \t") for value in re.findall(r"((?:[^\\|]|\\.)*)(?:\||\Z)", inside, re.DOTALL)[:-1]]
        return f"@{name}:{{{'|'.join(map(self._tag, values))}}}"

    def _tag(self, value):
        if not value:
            raise syntax("Empty tag")
        if self._profile.wild_tags:
            body, star = (value[:-1], "*") if self._profile.prefix_tags and value.endswith("*") else (value, "")
            if star and len(body) < 2:
                raise syntax(f"Prefix `{value}` is shorter than 2")
            return re.sub(r"([^\w])", r"\\\1", re.sub(r"\\(.)", r"\1", body, flags=re.DOTALL), flags=re.ASCII) + star
        if not _PLAIN_TAG.match(value):
            raise syntax(f"Invalid character in tag `{value}`")
        return value

    def _bracket(self, name):
        ranged = _RANGE.match(self._text, self._at)
        if ranged is not None and self._profile.vector_range:
            return self._vector_range(self._definition.field(name, "VECTOR"), ranged)
        self._at += 1
        end = self._text.find("]", self._at)
        if end < 0:
            raise syntax("Missing closing range bracket, ']'")
        bounds, self._at = self._text[self._at : end].split(), end + 1
        if len(bounds) != 2 or not all(map(_NUMBER.match, bounds)):
            raise syntax("A numeric range is two numbers: [low high]")
        return f"@{self._definition.field(name, 'NUMERIC')}:[{bounds[0]} {bounds[1]}]"

    def _vector_range(self, name, ranged):
        self._at = ranged.end()
        self.params |= {ranged["blob"]} | ({ranged["radius"][1:]} if ranged["radius"].startswith("$") else set())
        self.blobs.append((ranged["blob"], name))
        written = f"@{name}:[VECTOR_RANGE {ranged['radius']} ${ranged['blob']}]"
        yields = _YIELDS.match(self._text, self._at)
        if yields is None:
            return written
        self._at = yields.end()
        for pair in yields["pairs"].split(";"):
            if pair.strip():
                match = _PAIR.match(pair)
                if match is None:
                    raise syntax(f"Unknown attribute `{pair.strip()}`")
                if match[1].lower() == "yield_distance_as":
                    self.score = match[2]
        return f"{written}=>{{{yields['pairs']}}}"

    def _peek(self):
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, character):
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _unexpected(self):
        return syntax(f"Unexpected character at position {self._at + 1}: `{self._text[self._at : self._at + 1]}`")
