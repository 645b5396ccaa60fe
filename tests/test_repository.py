"""The rules of the house that no linter knows. Each is a function of texts, so that it is shown to fail as well."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import yamabiko

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("src/**/*.py")}
SCRIPTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("tests", "benchmarks", "examples")
    for path in ROOT.glob(f"{folder}/**/*.py")
}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "Makefile", ".ci/run", "pyproject.toml")
    for path in ROOT.glob(pattern)
}
EVERYTHING = SOURCES | SCRIPTS | PAGES

PUBLIC = {
    *("open_cache", "open_sync_cache", "Cache", "SyncCache", "Settings", "YamabikoError"),
    *("Request", "Scope", "Reply", "Policy", "Hit", "Miss"),
}
LONGEST_FUNCTION = 55
LONGEST_MODULE = 450
MARKS = re.compile("|".join(rf"\b{mark}\b" for mark in ("TO" + "DO", "FIX" + "ME", "X" * 3)))
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("wo" + "rk", "ho" + "me", "ro" + "ot")) + r")/|\.\./sha" + "red"
)
READ_ONLY = {"Mapping", "Sequence", "Collection"}
MUTABLE_MAKERS = {"dict", "list", "set", "bytearray", "defaultdict", "OrderedDict", "Counter", "deque"}


def lines_with(pattern, text):
    return [number for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def broad_excepts(text):
    """Lines of handlers that catch everything and keep it; to clean up and raise again, or to carry it on, is fine."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\b(?:Base)?Exception\b", ast.unparse(node.type)))
        and not isinstance(node.body[-1], ast.Raise)
        and not ("BaseException" in ast.unparse(node.type or node) and is_carried(node))
    ]


def is_carried(handler):
    """Whether the caught error itself, not only words about it, goes on to somebody."""
    waiting, found = list(handler.body), False
    while waiting:
        node = waiting.pop()
        found = found or (isinstance(node, ast.Name) and node.id == handler.name)
        told = isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Call) and re.search(r"\b(?:type|str|repr|isinstance|log\w*)\b", ast.unparse(node.func))
        )
        waiting += [] if told else ast.iter_child_nodes(node)
    return found


def mutable_globals(text):
    """Lines of module or class variables whose value can be changed in place: displays and makers of such.

    A CONSTANT that is annotated as read-only passes: the type checker refuses to change it.
    """
    found = []
    module = ast.parse(text)
    bodies = [module.body, *(node.body for node in ast.walk(module) if isinstance(node, ast.ClassDef))]
    for node in (node for body in bodies for node in body):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        read_only = target.isupper() and annotation.partition("[")[0] in READ_ONLY
        if target != "__all__" and not read_only and is_mutable(node.value):
            found.append(node.lineno)
    return found


def is_mutable(value):
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    if isinstance(value, ast.Tuple):
        return any(is_mutable(element) for element in value.elts)
    if isinstance(value, ast.BinOp):
        return is_mutable(value.left) or is_mutable(value.right)
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in MUTABLE_MAKERS


def definitions(text):
    return [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]


def long_functions(text):
    return [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in definitions(text)
        if not isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]


def without_docstring(text):
    """The module, and public classes, functions and methods, that say nothing. What overloads or overrides need not."""
    module = ast.parse(text)
    bare = [] if ast.get_docstring(module) else ["the module"]
    waiting = [("", module)]
    while waiting:
        prefix, owner = waiting.pop()
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
            if not ast.get_docstring(node) and not marks & {"overload", "override"}:
                bare.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                waiting.append((f"{prefix}{node.name}.", node))
    return bare


def code_blocks(markdown):
    """The `sh` and `python` blocks without what stands in the reader's language: comments, and texts in Python."""
    blocks = []
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", markdown, flags=re.DOTALL | re.MULTILINE):
        lines = [re.sub(r"(?:^|\s+)#.*$", "", line).rstrip() for line in body.splitlines()]
        if language == "python":
            lines = [re.sub(r'"[^"]*"', '""', line) for line in lines]
        if language in ("sh", "python"):
            blocks.append((language, [line for line in lines if line]))
    return blocks


def commands(markdown):
    """The lines of shell blocks."""
    return [line for language, lines in code_blocks(markdown) if language == "sh" for line in lines]


def offences(rule, texts):
    found = {name: rule(text) for name, text in texts.items()}
    return {name: where for name, where in found.items() if where}


def test_there_is_something_to_judge():
    assert "src/yamabiko/types.py" in SOURCES
    assert "tests/test_repository.py" in SCRIPTS
    assert {"README.md", "README.ja.md", "Makefile", ".ci/run"} <= PAGES.keys()


def test_no_marks_of_unfinished_work():
    assert offences(lambda text: lines_with(MARKS, text), EVERYTHING) == {}


def test_no_path_of_a_machine():
    assert offences(lambda text: lines_with(MACHINE_PATHS, text), EVERYTHING) == {}


def test_a_broad_except_stands_in_one_place_at_most():
    assert sum(map(len, offences(broad_excepts, SOURCES).values())) <= 1, offences(broad_excepts, SOURCES)


def test_no_state_is_shared_through_modules_and_classes():
    assert offences(mutable_globals, SOURCES) == {}


def test_functions_fit_on_a_screen():
    assert offences(long_functions, SOURCES) == {}


def test_modules_are_read_from_top_to_bottom():
    lengths = {name: len(text.splitlines()) for name, text in SOURCES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_what_is_public_says_what_it_is():
    assert offences(without_docstring, SOURCES) == {}


def test_the_package_exports_its_promised_names_and_no_others():
    assert sorted(yamabiko.__all__) == sorted(PUBLIC)
    assert set(dir(yamabiko)) == PUBLIC
    assert all(getattr(yamabiko, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="nonsense"):
        yamabiko.nonsense  # noqa: B018 - asking is the point


def test_both_readmes_give_the_same_code():
    english, japanese = code_blocks(PAGES["README.md"]), code_blocks(PAGES["README.ja.md"])
    assert english == japanese
    assert {"make demo", "make test"} <= set(commands(PAGES["README.md"]))


def test_each_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", PAGES["Makefile"], flags=re.MULTILINE))
    named = {
        name: set(re.findall(r"^make ([a-z-]+)", "\n".join(commands(page)), flags=re.MULTILINE))
        for name, page in PAGES.items()
        if name.endswith(".md")
    }
    assert {name: asked - targets for name, asked in named.items() if asked - targets} == {}
    assert named["CONTRIBUTING.md"] >= {"demo", "test", "check", "bench"}


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (lambda text: lines_with(MARKS, text), "x = 1  # TO" + "DO later", "todo_list = 1"),
        (lambda text: lines_with(MACHINE_PATHS, text), "open('/ho" + "me/me/x')", "url = 'https://a.org/home/'"),
        (lambda text: lines_with(MACHINE_PATHS, text), "see ../sha" + "red/x.md", "the shared file"),
        (broad_excepts, "try: f()\nexcept Exception: pass", "try: f()\nexcept ValueError: pass"),
        (
            broad_excepts,
            "try: f()\nexcept (OSError, BaseException): pass",
            "try: f()\nexcept (OSError, KeyError): pass",
        ),
        (broad_excepts, "try: f()\nexcept: pass", "class MyException(ValueError): pass"),
        (broad_excepts, "try: f()\nexcept BaseException as e: log(e)", "try: f()\nexcept BaseException as e: g(e)"),
        (
            broad_excepts,
            "try: f()\nexcept BaseException as e: g(f'{e}')",
            "try: f()\nexcept BaseException:\n g()\n raise",
        ),
        (broad_excepts, "try: f()\nexcept Exception as e: g(e)", "try: f()\nexcept OSError as e: g(e)"),
        (mutable_globals, "known: Mapping[str, int] = {}", "_KNOWN: Mapping[str, int] = {}"),
        (mutable_globals, "KNOWN = {}", "KNOWN = frozenset()"),
        (mutable_globals, "known = {}", "KNOWN = MappingProxyType({})"),
        (mutable_globals, "KNOWN: list[int] = []", "KNOWN: tuple[int, ...] = ()"),
        (mutable_globals, "class A:\n    seen = set()", "class A:\n    seen = frozenset({1})"),
        (mutable_globals, "SEEN = collections.defaultdict(list)", "def f():\n    seen = {}"),
        (mutable_globals, "A = ({}, 1)", "__all__ = ['a']"),
        (long_functions, "def f():\n" + "    x = 1\n" * 55, "def f():\n" + "    x = 1\n" * 54),
        (without_docstring, '"""M."""\ndef f(): ...', '"""M."""\ndef f():\n    """F."""'),
        (without_docstring, '"""M."""\nclass A:\n    """A."""\n    def b(self): ...', '"""M."""\ndef _f(): ...'),
        (without_docstring, "x = 1", '"""M."""'),
    ],
)
def test_each_rule_can_fail(rule, bad, good):
    assert rule(bad)
    assert not rule(good)


def test_code_in_two_languages_is_compared_without_comments_and_texts():
    english = '```sh\n# watch it\nmake demo  # two minutes\n```\n```python\nask("How?")\n```\n'
    japanese = '```sh\n# 見る\nmake demo  # 二分\n```\n```python\nask("どうやって？")  # 聞く\n```\n'
    assert code_blocks(english) == code_blocks(japanese) == [("sh", ["make demo"]), ("python", ['ask("")'])]
    assert code_blocks(english) != code_blocks(japanese.replace("demo", "test"))
    assert code_blocks(english) != code_blocks(japanese.replace("ask", "tell"))


def test_sql_numbers_no_placeholders():
    """sqlite3 of Python 3.14 refuses ``?1`` with a sequence of values."""
    assert {name for name, text in SOURCES.items() if re.search(r"[=<>(, ]\?[1-9]", text)} == set()
