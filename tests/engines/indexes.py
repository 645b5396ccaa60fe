"""What an index is: FT.CREATE parsed as the profile knows it, and what RediSearch's FT.INFO tells of one."""

from dataclasses import dataclass, field

from engines.profiles import Profile, Refusal, syntax

VECTOR_ATTRIBUTES = {
    "FLAT": ("TYPE", "DIM", "DISTANCE_METRIC", "INITIAL_CAP"),
    "HNSW": ("TYPE", "DIM", "DISTANCE_METRIC", "INITIAL_CAP", "M", "EF_CONSTRUCTION", "EF_RUNTIME"),
}
_DEFAULTS = {"INITIAL_CAP": 1024, "M": 16, "EF_CONSTRUCTION": 200, "EF_RUNTIME": 10}


class Cursor:
    """Reads a command's arguments one by one."""

    def __init__(self, arguments):
        self._arguments = [argument.decode(errors="surrogateescape") for argument in arguments]
        self._raw = list(arguments)
        self._at = 0

    def __bool__(self):
        return self._at < len(self._arguments)

    def peek(self) -> str:
        return self._arguments[self._at].upper() if self else ""

    def take(self, what) -> str:
        if not self:
            raise syntax(f"Missing {what}")
        self._at += 1
        return self._arguments[self._at - 1]

    def bytes(self, what) -> bytes:
        self.take(what)
        return self._raw[self._at - 1]

    def word(self, *words) -> bool:
        if self.peek() in words:
            self._at += 1
            return True
        return False

    def number(self, what, low, high) -> int:
        text = self.take(what)
        if not text.isdecimal() or not low <= int(text) <= high:
            raise syntax(f"{what} must be a whole number from {low} to {high}, not `{text}`")
        return int(text)

    def several(self, what, high=1 << 30) -> list[str]:
        return [self.take(what) for _ in range(self.number(f"the count of {what}", 1, high))]

    def rest(self) -> list:
        return self._raw[self._at :]

    def end(self):
        if self:
            raise syntax(f"Unexpected argument `{self._arguments[self._at]}`")


@dataclass
class Field:
    identifier: str
    name: str
    type: str
    options: dict = field(default_factory=dict)  # SEPARATOR, CASESENSITIVE, or the vector's attributes and "algorithm"

    def forwarded(self):
        """The field in RediSearch's words."""
        words = [self.identifier, "AS", self.name, self.type]
        if self.type == "VECTOR":
            pairs = [word for name, value in self.options.items() if name != "algorithm" for word in (name, value)]
            return [*words, self.options["algorithm"], len(pairs), *pairs]
        if self.type == "TEXT":  # a blob, not a full-text index
            return [*words, "NOINDEX"]
        for name, value in self.options.items():
            words += [name] if value is True else [name, value]
        return words

    def attribute(self, name):
        return self.options.get(name, _DEFAULTS.get(name))

    @property
    def vector_bytes(self):
        return 4 * self.attribute("DIM")


@dataclass
class Definition:
    name: str
    prefixes: list
    fields: dict  # by the name that queries use
    key_type: str = "HASH"

    def field(self, name, kind) -> str:
        """The name, if the index has such a field of that type."""
        found = self.fields.get(name)
        if found is None:
            raise syntax(f"Index field `{name}` does not exist")
        if found.type != kind:
            raise syntax(f"Index field `{name}` is not a {kind} field")
        return name

    def covers(self, key: bytes) -> bool:
        return any(key.startswith(prefix.encode(errors="surrogateescape")) for prefix in self.prefixes or [""])

    def forwarded(self):
        prefix = ["PREFIX", len(self.prefixes), *self.prefixes] if self.prefixes else []
        words = [word for one in self.fields.values() for word in one.forwarded()]
        command = ["FT.CREATE", self.name, "ON", self.key_type, *prefix, "SCHEMA", *words]
        return [str(word).encode(errors="surrogateescape") for word in command]

    @classmethod
    def parse(cls, arguments, profile: Profile):
        """``arguments``: those of FT.CREATE, without its name."""
        cursor = Cursor(arguments)
        name = _braces(cursor.take("the index name"), profile)
        key_type, prefixes = "HASH", []
        if cursor.word("ON"):
            key_type = cursor.take("HASH or JSON").upper()
            if key_type not in {"HASH", "JSON"}:
                raise syntax(f"Unknown key type `{key_type}`")
        elif profile.needs_on:
            raise syntax("Missing ON")
        if cursor.word("PREFIX"):
            prefixes = [_braces(one, profile) for one in cursor.several("prefixes", profile.max_prefixes)]
        if not cursor.word("SCHEMA"):
            raise syntax(f"Unexpected argument `{cursor.take('SCHEMA')}`")
        fields = {}
        while cursor or not fields:
            one = _field(cursor, profile)
            if one.name in fields:
                raise syntax(f"Duplicate field in schema: `{one.name}`")
            fields[one.name] = one
        if len(fields) > profile.max_fields:
            raise syntax(f"The maximum number of fields is {profile.max_fields}")
        if profile.needs_vector and all(one.type != "VECTOR" for one in fields.values()):
            raise syntax("At least one attribute must be indexed as a vector")
        return cls(name, prefixes, fields, key_type)

    @classmethod
    def learn(cls, reply):
        """From RediSearch's FT.INFO, for an index that this guard did not see being made."""
        told = pairs(reply)
        meaning = pairs(told["index_definition"])
        fields = {}
        for one in told["attributes"]:
            flags, given = {"CASESENSITIVE", "NOINDEX", "SORTABLE"}, [text(word) for word in one]
            known = pairs([word for word in one if text(word) not in flags])
            options = {
                name: int(known[name.lower()]) for name in ("DIM", "M", "EF_CONSTRUCTION") if name.lower() in known
            }
            options |= {name: int(known[name]) for name in ("M",) if name in known}
            kind = text(known["type"])
            if kind == "VECTOR":
                options |= {"algorithm": text(known["algorithm"]), "TYPE": text(known["data_type"])}
                options["DISTANCE_METRIC"] = text(known["distance_metric"])
            elif kind == "TAG":
                options |= {"SEPARATOR": text(known["SEPARATOR"])}
                options |= {"CASESENSITIVE": True} if "CASESENSITIVE" in given else {}
            name = text(known["attribute"])
            fields[name] = Field(text(known["identifier"]), name, kind, options)
        prefixes = [text(prefix) for prefix in meaning["prefixes"]]
        return cls(text(told["index_name"]), prefixes if prefixes != [""] else [], fields, text(meaning["key_type"]))


def text(word) -> str:
    return word.decode(errors="surrogateescape") if isinstance(word, bytes) else str(word)


def pairs(flat) -> dict:
    """[name, value, name, value] as a dict."""
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=False)}


def _braces(word, profile):
    matched = word.count("{") == word.count("}") == 1 and word.index("{") < word.index("}")
    if profile.braces == "none" and ("{" in word or "}" in word):
        raise syntax(f"`{word}`: hash tags are not allowed in index names and prefixes")
    if profile.braces == "pairs" and ("{" in word or "}" in word) and not matched:
        raise syntax(f"`{word}`: hash tag braces must be a matched pair")
    return word


def _field(cursor, profile):
    identifier = cursor.take("a field name")
    name = cursor.take("the alias") if cursor.word("AS") else identifier
    kind = cursor.take(f"the type of field `{identifier}`").upper()
    if kind not in profile.field_types:
        raise syntax(f"Invalid field type for field `{identifier}`: Unknown argument `{kind}`")
    options = {}
    if kind == "VECTOR":
        options = _vector(cursor, profile, identifier)
    while kind == "TAG" and cursor.peek() in {"SEPARATOR", "CASESENSITIVE"}:
        option = cursor.take("an option").upper()
        options[option] = True if option == "CASESENSITIVE" else cursor.take("the separator")
        if option == "SEPARATOR" and len(options[option]) != 1:
            raise syntax("The separator must be a single character")
    if profile.sortable:
        cursor.word("SORTABLE")
    return Field(identifier, name, kind, options)


def _vector(cursor, profile, identifier):
    algorithm = cursor.take("the algorithm").upper()
    if algorithm not in VECTOR_ATTRIBUTES:
        raise syntax(f"Invalid field type for field `{identifier}`: Unknown argument `{algorithm}`")
    count = cursor.number("the count of vector attributes", 2, 100)
    if count % 2:
        raise syntax("The count of vector attributes must be even")
    options = {"algorithm": algorithm}
    limits = {
        "DIM": profile.max_dim,
        "M": profile.max_m,
        "EF_CONSTRUCTION": profile.max_ef,
        "EF_RUNTIME": profile.max_ef,
    }
    for _ in range(count // 2):
        name = cursor.take("a vector attribute").upper()
        if name not in VECTOR_ATTRIBUTES[algorithm]:
            raise syntax(f"Unknown argument `{name}`")
        if name in {"TYPE", "DISTANCE_METRIC"}:
            options[name] = cursor.take(name).upper()
        else:
            options[name] = cursor.number(name, 1, limits.get(name, 1 << 31))
    for name in ("TYPE", "DIM", "DISTANCE_METRIC"):
        if name not in options:
            raise syntax(f"Missing {name} parameter")
    if options["TYPE"] != "FLOAT32":
        raise syntax(f"Unknown argument `{options['TYPE']}`: only FLOAT32")
    if options["DISTANCE_METRIC"] not in {"L2", "IP", "COSINE"}:
        raise syntax(f"Unknown argument `{options['DISTANCE_METRIC']}`: L2, IP or COSINE")
    return options


def refuse_unknown(name) -> Refusal:
    return Refusal("unknown_index", index=name)
