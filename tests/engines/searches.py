"""FT.SEARCH and FT.AGGREGATE: the arguments as the profile knows them, and what RediSearch is asked instead."""

from dataclasses import dataclass, field

from engines.indexes import Cursor, Definition
from engines.profiles import Profile, Refusal, syntax
from engines.query import Query, parse

_REDUCERS = frozenset(
    [
        "COUNT",
        "COUNT_DISTINCTISH",
        "COUNT_DISTINCT",
        "SUM",
        "MIN",
        "MAX",
        "AVG",
        "STDDEV",
        "QUANTILE",
        "TOLIST",
        "FIRST_VALUE",
        "RANDOM_SAMPLE",
    ]
)
ROWS = 1_000_000  # as many as RediSearch gives
MAX_STAGES, MAX_LOAD, MAX_GROUPBY, MAX_SORTBY = 32, 1024, 16, 16


@dataclass
class Search:
    definition: Definition
    name: str  # the index or alias, as it was asked
    query: Query = None
    params: dict = field(default_factory=dict)
    returns: list | None = None  # None: all fields
    offset: int = 0
    limit: int = 10
    timeout: int | None = None
    keys_only: bool = False
    sort: list = field(default_factory=list)

    def forwarded(self, *, more=0, nearest=True, paged=False):
        """RediSearch's command. Without ``paged`` it answers all rows, and ``more`` neighbours than were asked for."""
        words = ["FT.SEARCH", self.name, self.query.text(more=more)]
        if self.keys_only:
            words.append("NOCONTENT")
        elif self.returns is not None:
            words += ["RETURN", len(self.returns), *self.returns]
        words += _common(self)
        if paged:
            words += ["LIMIT", self.offset, self.limit]
        else:
            words += ["LIMIT", 0, ROWS if self.query.k is None else self.query.k + more]
        if self.sort:
            words += ["SORTBY", *self.sort]
        elif nearest and self.query.k is not None:
            words += ["SORTBY", self.query.score, "ASC"]
        return _encoded([*words, "DIALECT", 2])

    @classmethod
    def parse(cls, cursor: Cursor, name: str, definition: Definition, profile: Profile):
        """``cursor`` stands behind the index name."""
        search = cls(definition, name)
        query = cursor.take("the query")
        while cursor:
            search._option(cursor, profile)
        search.query = parse(query, profile, definition, search.params)
        _check_params(search.query, search.params, definition, profile)
        search._check_names(profile)
        return search

    def _option(self, cursor, profile):
        if cursor.word("RETURN"):
            count = cursor.number("the count of RETURN", 1 if profile.returns_declared_only else 0, 1000)
            self.returns = [cursor.take("a field to return") for _ in range(count)]
            self.keys_only = self.keys_only or not count
        elif cursor.word("TIMEOUT"):
            self.timeout = cursor.number(
                "TIMEOUT", 0 if profile.waits_for_index else 1, profile.max_timeout_milliseconds
            )
        elif cursor.word("PARAMS"):
            self.params |= _params(cursor, profile)
        elif cursor.word("LIMIT"):
            self.offset = cursor.number("the offset", 0, 1 << 30)
            self.limit = cursor.number("the count of LIMIT", 0, 1 << 30)
        elif cursor.word("DIALECT"):
            _dialect(cursor, profile)
        elif cursor.peek() in profile.search_words:
            self._word(cursor.take("an option").upper(), cursor)
        else:
            cursor.end()

    def _word(self, word, cursor):
        if word == "COUNT":
            self.offset = self.limit = 0
        elif word == "NOCONTENT":
            self.keys_only = True
        elif word == "SORTBY":
            name = cursor.take("the field to sort by").removeprefix("@")
            if name not in self.definition.fields:
                raise syntax(f"Index field `{name}` does not exist")
            order = cursor.take("ASC or DESC").upper() if cursor.peek() in {"ASC", "DESC"} else "ASC"
            self.sort = [name, order]

    def _check_names(self, profile):
        if not profile.returns_declared_only or self.returns is None:
            return
        position = 0
        while position < len(self.returns):
            name = self.returns[position].removeprefix("@")
            if name not in self.definition.fields and name != self.query.score:
                raise syntax(f"Index field `{name}` does not exist")
            renamed = self.returns[position + 1 : position + 2]
            position += 3 if renamed and renamed[0].upper() == "AS" else 1


def parse_aggregate(cursor: Cursor, name, definition, profile):
    """The command for RediSearch. Expressions of FILTER and APPLY are RediSearch's business."""
    query_text = cursor.take("the query")
    search = Search(definition, name)
    stages, words = 0, []
    while cursor:
        if cursor.word("LOAD"):
            words += ["LOAD", *_load(cursor)]
        elif cursor.word("TIMEOUT"):
            search.timeout = cursor.number("TIMEOUT", 0, profile.max_timeout_milliseconds)
        elif cursor.word("PARAMS"):
            search.params |= _params(cursor, profile)
        elif cursor.word("DIALECT"):
            _dialect(cursor, profile)
        else:
            words += _stage(cursor)
            stages += 1
    if stages > MAX_STAGES:
        raise syntax(f"at most {MAX_STAGES} pipeline stages")
    search.query = parse(query_text, profile, definition, search.params)
    _check_params(search.query, search.params, definition, profile)
    timeout_and_params = _common(search)
    return _encoded(["FT.AGGREGATE", name, search.query.text(), *timeout_and_params, *words, "DIALECT", 2])


def _load(cursor):
    if cursor.word("*"):
        return ["*"]
    fields = cursor.several("LOAD fields", MAX_LOAD)
    return [len(fields), *fields]


def _stage(cursor):
    if cursor.word("FILTER"):
        return ["FILTER", cursor.take("an expression")]
    if cursor.word("LIMIT"):
        return ["LIMIT", cursor.number("the offset", 0, 1 << 30), cursor.number("the count", 0, 1 << 30)]
    if cursor.word("APPLY"):
        expression = cursor.take("an expression")
        if not cursor.word("AS"):
            raise syntax("Missing AS")
        return ["APPLY", expression, "AS", cursor.take("a name")]
    if cursor.word("SORTBY"):
        fields = cursor.several("SORTBY fields", 2 * MAX_SORTBY)
        most = ["MAX", cursor.number("MAX", 1, 1 << 30)] if cursor.word("MAX") else []
        return ["SORTBY", len(fields), *fields, *most]
    if cursor.word("GROUPBY"):
        fields = [cursor.take("a field") for _ in range(cursor.number("GROUPBY fields", 0, MAX_GROUPBY))]
        words = ["GROUPBY", len(fields), *fields]
        while cursor.word("REDUCE"):
            words += _reducer(cursor)
        return words
    raise syntax(f"Unexpected argument `{cursor.take('a stage')}`")


def _reducer(cursor):
    name = cursor.take("a reducer").upper()
    if name not in _REDUCERS:
        raise syntax(f"Unknown reducer `{name}`")
    arguments = [cursor.take("an argument") for _ in range(cursor.number("the count of arguments", 0, 100))]
    renamed = ["AS", cursor.take("a name")] if cursor.word("AS") else []
    return ["REDUCE", name, len(arguments), *arguments, *renamed]


def _params(cursor, profile):
    count = cursor.number("the count of PARAMS", 0, 1 << 30)
    if count % 2:
        raise syntax("The count of PARAMS must be even")
    if count // 2 > profile.max_params:
        raise syntax(f"at most {profile.max_params} parameters")
    return {cursor.take("a parameter's name"): cursor.bytes("a parameter's value") for _ in range(count // 2)}


def _dialect(cursor, profile):
    told = cursor.take("DIALECT")
    if not told.isdecimal() or int(told) not in profile.dialects:
        low, high = min(profile.dialects), max(profile.dialects)
        raise syntax(f"DIALECT requires a non negative integer >={low} and <= {high}")


def _check_params(query, params, definition, profile):
    used = query.params | {blob for blob, _ in query.blobs}
    for name in sorted(used - set(params)):
        raise syntax(f"Parameter `{name}` not found")
    if profile.refuses_unused_params:
        for name in sorted(set(params) - used):
            raise syntax(f"Parameter `{name}` not used.")
    for blob, name in query.blobs:
        wanted = definition.fields[name].vector_bytes
        if len(params[blob]) != wanted:
            raise Refusal("blob_size", got=len(params[blob]), wanted=wanted)


def _common(search):
    words = [] if search.timeout is None else ["TIMEOUT", search.timeout]
    if search.params:
        words += ["PARAMS", 2 * len(search.params)]
        words += [word for pair in search.params.items() for word in pair]
    return words


def _encoded(words):
    return [word if isinstance(word, bytes) else str(word).encode(errors="surrogateescape") for word in words]
