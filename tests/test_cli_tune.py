"""``yamabiko tune``: figures of labelled pairs, on the real embedder, as files and on the terminal."""

from __future__ import annotations

import gzip
import json
import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yamabiko.cli import main
from yamabiko.cli.judging import Judged
from yamabiko.cli.pairs_file import Pair
from yamabiko.cli.tuning import BUDGETS, METHODS, axes, curve, tuned
from yamabiko.cli.weighing import Weighed
from yamabiko.core.calibrate import Certificate, Terms
from yamabiko.core.guards import GUARDS, MODES, Finding

TRAPS = Path(__file__).parent / "traps"
ENGLISH, JAPANESE = "minilm-l6-v2-int8", "use-m3-384"
SAME = {"a": "Where is it?", "b": "where is it?", "label": 1}
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments, **options):
    return CliRunner().invoke(main, list(arguments), **options)


def lines_of(*names):
    """Pairs of trap tables in the form that the command reads."""
    for name in names:
        for row in map(json.loads, (TRAPS / name).read_text(encoding="utf-8").splitlines()):
            yield {"a": row["a"], "b": row["b"], "label": int(row["same"]), "axis": name.partition(".")[0]}


def write(rows, name="pairs.jsonl"):
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


class Page(HTMLParser):
    """A page as a browser takes it: fails where a tag is not closed, and knows what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.texts, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", png[16:24])


def numbers(model, *, many=60):
    """Right pairs that hardly differ, and wrong ones that differ in a number."""
    if model == ENGLISH:
        right, wrong = "How do I add user {} to my team?", ("Can I book {} seats?", "Can I book {} seats?")
        return [
            {"a": right.format(n), "b": right.format(n).replace("do", "can"), "label": 1, "axis": "words"}
            for n in range(many)
        ] + [{"a": wrong[0].format(n), "b": wrong[1].format(n + 1), "label": 0, "axis": "number"} for n in range(many)]
    right, wrong = "{}番の窓口はどこにありますか", "{}人で予約できますか"
    return [
        {"a": right.format(n), "b": right.format(n) + "？", "label": 1, "axis": "表記"} for n in range(1, many + 1)
    ] + [{"a": wrong.format(n), "b": wrong.format(n + 1), "label": 0, "axis": "数"} for n in range(1, many + 1)]


def test_english_and_japanese_pairs_make_a_whole_report():
    write([*numbers(ENGLISH), *numbers(JAPANESE), {"a": "Where is it?", "b": "どこですか", "label": 1}, SAME])
    ran = run("tune", "pairs.jsonl", "--max-error-rate", "0.1", "--report", "made/here")
    assert ran.exit_code == 0, ran.output
    assert "made/here/report.html" in ran.stdout
    assert "2 pairs are never compared by meaning, or are the very same question: left out" in ran.stdout
    for model in (ENGLISH, JAPANESE):
        assert f"{model}: 120 pairs, 60 of them right" in ran.stdout
        assert re.search(
            r"certified: at most \d+\.\d\d% wrong per hit from score 0\.\d+ on, at 95% confidence", ran.stdout
        )
    told = json.loads(Path("made/here/report.json").read_text(encoding="utf-8"))
    assert (told["pairs"], told["uncompared"], told["max_error_rate"]) == (242, 2, 0.1)
    assert sorted(told["files"]) == sorted(path.name for path in Path("made/here").iterdir())
    for model in told["models"]:
        assert model["certified"]
        assert model["threshold"] == model["certificate"]["threshold"]
        assert model["basis"] == "certificate"
        assert {axis["name"]: (axis["right"], axis["different"]) for axis in model["axes"]} in (
            {"words": (60, 0), "number": (0, 60)},
            {"表記": (60, 0), "数": (0, 60)},
        )
        assert all(axis["wrong"]["score"] == 0 for axis in model["axes"])
        guards = {one["name"]: one for one in model["guards"]}
        assert guards.keys() == GUARDS.keys()
        assert guards["numbers"]["caught"] == 60
        assert guards["numbers"]["harmed"] == 0
        assert sum(one["pairs"] for one in model["reliability"]) == 60  # those that no guard refuses
    sizes = [size_of(path.read_bytes()) for path in Path("made/here").glob("*.png")]
    assert len(sizes) == 6
    assert min(map(min, sizes)) > 300


def test_the_page_asks_nothing_of_a_network_and_shows_texts_as_texts():
    attack = '<script>alert(1)</script><img src="https://example.org/x">'
    rows = [*numbers(ENGLISH), {"a": f"Send 5 pieces of {attack}", "b": f"Send 6 pieces of {attack}", "label": 1}]
    rows += [{"a": "5枚ください", "b": "6枚ください", "label": 1}]
    write(rows)
    run("tune", "pairs.jsonl", "--max-error-rate", "0.1")
    text = Path("tune-report/report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.references) == 6
    assert all(value.startswith("data:image/png;base64,") for value in page.references)
    assert "script" not in page.tags
    assert f"Send 5 pieces of {attack}" in page.texts
    assert "5枚ください" in page.texts
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    for name in ("report.json", *(path.name for path in Path("tune-report").glob("*.png"))):
        data = Path("tune-report", name).read_bytes()
        assert "枚".encode() not in data
        assert b"pieces" not in data


def test_no_text_is_shown_where_none_is_wanted():
    write([*numbers(ENGLISH), {"a": "Send 5 pieces", "b": "Send 6 pieces", "label": 1}])
    ran = run("tune", "pairs.jsonl", "--max-error-rate", "0.1", "--no-texts")
    assert ran.exit_code == 0
    assert "pieces" not in Path("tune-report/report.html").read_text(encoding="utf-8") + ran.output
    refused = json.loads(Path("tune-report/report.json").read_text(encoding="utf-8"))["models"][0][
        "refused_right_lines"
    ]
    assert refused == [121]


def test_what_can_not_be_promised_is_said_with_what_is_missing():
    write(numbers(ENGLISH, many=20))
    ran = run("--json", "tune", "pairs.jsonl")
    assert ran.exit_code == 1
    told = json.loads(ran.stdout)
    (model,) = told["models"]
    assert not model["certified"]
    assert re.search(r"too few to test any threshold; about \d+ more labels are needed", model["outcome"])
    assert told == json.loads(Path("tune-report/report.json").read_text(encoding="utf-8"))


def test_a_report_replaces_an_earlier_one_and_its_figures():
    write([*numbers(ENGLISH, many=10), *numbers(JAPANESE, many=10)])
    run("tune", "pairs.jsonl", "--report", "r")
    Path("r/mine.png").write_bytes(b"not ours")
    assert len(list(Path("r").glob("*.png"))) == 7
    write(numbers(JAPANESE, many=10))
    run("tune", "pairs.jsonl", "--report", "r")
    assert sorted(path.name for path in Path("r").glob("*.png")) == [
        "mine.png",
        *(f"{JAPANESE}-{figure}.png" for figure in ("reliability", "threshold", "tradeoff")),
    ]


def test_packed_files_and_standard_input():
    rows = numbers(JAPANESE, many=5)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    Path("pairs.jsonl.gz").write_bytes(gzip.compress(text))
    packed = json.loads(run("--json", "tune", "pairs.jsonl.gz").stdout)
    piped = json.loads(run("--json", "tune", "-", input=b"\n" + text).stdout)
    assert packed["models"][0]["curves"] == piped["models"][0]["curves"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": "x"}', "line 2: Object missing required field `b`"),
        ('{"a": "x", "b": "y", "label": 2}', "line 2: Invalid enum value 2"),
        ('{"a": "x", "b": "y", "label": "yes"}', "line 2: Expected"),
        ('{"a": "x", "b": "  ", "label": 1}', "line 2: b is empty"),
        ("nonsense", "line 2 is not a JSON object"),
        ('["x", "y", 1]', "line 2: Expected"),
        ('{"a": "\\ud800", "b": "y", "label": 1}', "line 2"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(line, words):
    Path("pairs.jsonl").write_text('{"a": "x", "b": "y", "label": 1}\n' + line + "\n", encoding="utf-8")
    ran = run("tune", "pairs.jsonl")
    assert ran.exit_code == 2, ran.output
    assert ran.stdout == ""
    assert words in ran.stderr.splitlines()[-1]
    assert [path.name for path in Path().iterdir()] == ["pairs.jsonl"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\xfe", b"\x1f\x8b\x08damaged"])
def test_a_file_without_pairs_is_refused(data):
    Path("pairs.jsonl").write_bytes(data)
    ran = run("tune", "pairs.jsonl")
    assert ran.exit_code == 2
    assert "pairs.jsonl" in ran.stderr


def test_what_can_not_be_written_whole_leaves_nothing_half_written():
    write(numbers(JAPANESE, many=3))
    Path("r/report.html").mkdir(parents=True)
    ran = run("tune", "pairs.jsonl", "--report", "r")
    assert ran.exit_code == 2
    assert "the report can't be written to r" in ran.stderr
    assert [path.name for path in Path("r").iterdir()] == ["report.html"]


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write(numbers(JAPANESE, many=3))
    ran = run("tune", "pairs.jsonl")
    assert ran.exit_code == 2
    assert "pip install 'yamabiko[tune]'" in ran.stderr
    assert not Path("tune-report").exists()


def test_it_needs_an_embedder_and_takes_another():
    write(numbers(JAPANESE, many=3))
    env = {"YAMABIKO_EMBEDDER__KIND": "none"}
    assert "needs an embedder" in run("tune", "pairs.jsonl", env=env).stderr
    assert run("tune", "pairs.jsonl", "--embedder", "local", env=env).exit_code == 1


def test_guards_are_those_of_the_policy_and_of_the_category():
    write(list(lines_of("numbers.ja.jsonl"))[:20])
    env = {"YAMABIKO_POLICY__GUARDS": "numbers=feature,dates=feature,billing/numbers=off,other/units=off"}
    told = json.loads(run("--json", "tune", "pairs.jsonl", "--category", "billing", env=env).stdout)
    modes = {one["name"]: one["mode"] for one in told["models"][0]["guards"]}
    assert modes == {**MODES, "numbers": "off", "dates": "feature"}


# The figures, on pairs whose numbers are given.


def judged(rows):
    """Pairs of (similarity, score, correct, axis, guards that veto)."""
    return [
        Judged(
            pair=Pair(a="a", b="b", correct=correct, axis=axis, line=at, id=f"{at:064d}"),
            weighed=Weighed(
                similarity=similarity,
                findings=tuple(Finding(name, "differs", 1.0) for name in vetoes),
                vetoes=tuple(Finding(name, "differs", 1.0) for name in vetoes),
                features=(),
                score=score,
                p_correct=score,
            ),
        )
        for at, (similarity, score, correct, axis, vetoes) in enumerate(rows, start=1)
    ]


def figures(rows, *, max_error_rate=0.02, shipped=None):
    terms = Terms(max_error_rate=max_error_rate, confidence=0.95)
    return tuned("m", judged(rows), terms=terms, modes=MODES, shipped=shipped, digest="d")


def test_a_curve_counts_hits_and_wrong_ones_and_equals_go_together():
    points = curve(np.array([0.9, 0.8, 0.8, 0.7]), np.array([0.0, 1.0, 0.0, 0.0]), confidence=0.95)
    assert [(point.threshold, point.hits, point.wrong) for point in points] == [(0.9, 1, 0), (0.8, 3, 1), (0.7, 4, 1)]
    assert all(point.low <= point.wrong / point.hits <= point.high for point in points)
    assert points[0].high == pytest.approx(0.975)  # Clopper-Pearson of 0 in 1: 1 - 0.025
    assert curve(np.array([]), np.array([]), confidence=0.95) == []


def test_methods_are_compared_at_the_same_wrong_share():
    rows = [(0.9, 0.9, True, "", ())] * 40 + [(0.99, 0.9, False, "", ("numbers",))] * 40 + [(0.95, 0.6, False, "", ())]
    found = figures(rows)
    hits = {method: [point.hits if point else 0 for point in found.at_budgets[method]] for method in METHODS}
    assert hits == {"cosine": [0] * 4, "guarded": [0, 0, 0, 41], "score": [40, 40, 40, 41]}
    assert BUDGETS == (0.005, 0.01, 0.02, 0.05)


def test_each_method_serves_as_many_where_axes_are_compared():
    rows = [(0.90 + 0.001 * at, 0.9, True, "right", ()) for at in range(10)]
    rows += [(0.99, 0.9, False, "number", ("numbers",)), (0.95, 0.6, False, "entity", ())]
    by_name = {axis.name: axis for axis in axes(judged(rows), 0.8)}
    assert {
        method: sum(axis.served[method] + axis.wrong[method] for axis in by_name.values()) for method in METHODS
    } == (dict.fromkeys(METHODS, 10))
    assert dict(by_name["number"].wrong) == {"cosine": 1, "guarded": 0, "score": 0}
    assert dict(by_name["entity"].wrong) == {"cosine": 1, "guarded": 1, "score": 0}
    assert all(axis.served == dict.fromkeys(METHODS, 0) for axis in axes(judged(rows), None) if axis.name == "number")


def test_a_guard_ought_to_be_a_feature_where_it_alone_refuses_what_is_right():
    rows = [(0.9, 0.9, True, "", ())] * 300 + [(0.9, 0.9, True, "", ("entities",))] * 6
    rows += [(0.9, 0.9, False, "", ("numbers",))] * 6 + [(0.9, 0.9, True, "", ("numbers", "dates"))] * 9
    rows += [(0.9, 0.9, True, "", ("questions",))] * 4 + [(0.9, 0.1, True, "", ("times",))] * 9
    by_name = {one.name: one for one in figures(rows, shipped=0.8).guards}
    assert (by_name["entities"].advice, by_name["entities"].changes) == ("feature", True)
    assert [by_name[name].advice for name in ("numbers", "dates", "questions", "times")] == ["veto"] * 4
    assert (by_name["numbers"].caught, by_name["numbers"].harmed) == (6, 9)
    assert (by_name["numbers"].alone, by_name["dates"].alone, by_name["times"].alone) == (6, 0, 0)
    assert "too few to tell" in by_name["questions"].why
    assert not by_name["length"].changes


def test_a_feature_ought_to_be_a_veto_where_it_marks_mostly_wrong_answers():
    rows = judged([(0.9, 0.9, True, "", ())] * 300 + [(0.9, 0.9, False, "", ("length",))] * 6)
    open_ones = [
        Judged(
            pair=one.pair,
            weighed=Weighed(**{name: getattr(one.weighed, name) for name in Weighed.__slots__} | {"vetoes": ()}),
        )
        for one in rows
    ]
    terms = Terms(max_error_rate=0.02, confidence=0.95)
    found = tuned("m", open_ones, terms=terms, modes=MODES, shipped=0.8, digest="d")
    assert {one.name: one.advice for one in found.guards if one.changes} == {"length": "veto"}


def test_the_threshold_in_use_is_the_best_founded_one():
    many = [(0.9, 0.9, True, "", ())] * 400
    certified = figures(many)
    assert isinstance(certified.outcome, Certificate)
    assert (certified.basis, certified.threshold) == ("certificate", certified.outcome.threshold)
    few = [(0.9, 0.9, True, "", ()), (0.8, 0.7, True, "", ()), (0.8, 0.6, False, "", ())]
    assert (figures(few, shipped=0.75).basis, figures(few, shipped=0.75).threshold) == ("shipped", 0.75)
    assert (figures(few).basis, figures(few).threshold) == ("pairs", 0.7)
    assert (figures(few[2:]).basis, figures(few[2:]).threshold) == ("none", None)
    assert figures([(0.9, 0.4, True, "", ())]).threshold is None  # never below 0.5
