"""Whether evidence still supports an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.support import MIN_SUPPORT, support

TOWER = (
    "The tower was built in 1903 by Ellen Mair. It is 84 metres high. The bridge was built in 1921 by Otto Lund. "
    "Visitors reach the top by a staircase of 412 steps."
)
TOU = "塔は1903年に青木健一によって建てられた。高さは84メートルである。橋は1921年に森田花子によって架けられた。頂上へはエレベーターで行く。"
WHO, WHEN = "Who built the tower?", "When was the tower built?"
DARE, ITSU = "塔を建てたのは誰ですか。", "塔はいつ建てられたか。"


@pytest.mark.parametrize(
    ("question", "answer", "evidence"),
    [
        (WHO, "Ellen Mair", TOWER),
        (WHO, "The tower was built by Ellen Mair.", TOWER),
        (WHEN, "In 1903.", TOWER),
        (WHEN, "1903", TOWER.replace("It is 84 metres high. ", "")),
        ("How many steps are there?", "The staircase has 412 steps.", "New paint in 2020. " + TOWER),
        (DARE, "青木健一", TOU),
        (DARE, "青木健一です。", TOU),
        (ITSU, "１９０３年です。", TOU),
        (ITSU, "1903年", TOU.replace("高さは84メートルである。", "")),
        ("頂上へはどうやって行きますか。", "エレベーター", TOU),
        ("花の色は？", "つゆ", "六月の雨をつゆと呼ぶ。"),
    ],
)
def test_what_the_evidence_says_is_supported(question, answer, evidence):
    assert support(answer, [evidence], question=question).share >= MIN_SUPPORT


@pytest.mark.parametrize(
    ("question", "answer", "evidence"),
    [
        (WHO, "Ellen Mair", TOWER.replace("Ellen Mair", "Ruth Abel")),
        (WHO, "The tower was built by Ellen Mair.", TOWER.replace("Ellen Mair", "Ruth Abel")),
        (
            WHO,
            "Ellen Mair",
            TOWER.replace("Ellen Mair", "@").replace("Otto Lund", "Ellen Mair").replace("@", "Otto Lund"),
        ),
        (WHEN, "In 1903.", TOWER.replace("1903", "1904")),
        (WHEN, "The tower was built in 1903 by Ellen Mair.", TOWER.replace("1903", "1904")),
        (WHEN, "1903", TOWER.partition(". ")[2]),
        (WHO, "Ellen Mair", ""),
        (DARE, "青木健一", TOU.replace("青木健一", "田中一郎")),
        (DARE, "青木健一", TOU.replace("青木健一", "@").replace("森田花子", "青木健一").replace("@", "森田花子")),
        (ITSU, "1903年です。", TOU.replace("1903", "1904")),
        (ITSU, "塔は1903年に青木健一によって建てられた。", TOU.replace("1903", "1904")),
        ("頂上へはどうやって行きますか。", "エレベーター", TOU.replace("エレベーター", "ロープウェイ")),
    ],
)
def test_what_it_says_no_more_is_not_and_the_reasons_say_no_word_of_it(question, answer, evidence):
    found = support(answer, [evidence], question=question)
    assert found.share < MIN_SUPPORT
    assert found.reasons
    for word in ("Ellen", "1903", "青木", "エレベーター"):
        assert word not in " ".join(found.reasons)


@pytest.mark.parametrize("answer", ["", "Yes.", "👍", "…"])
def test_an_answer_that_says_nothing_to_look_for_is_not_supported(answer):
    assert support(answer, [TOWER], question=WHO).share == 0.0


TEXTS = st.text(alphabet="ab1 .,AB塔は年アツ。１\n", max_size=40)


@given(TEXTS, st.lists(TEXTS, max_size=3), TEXTS)
def test_it_is_a_share_whatever_the_texts(answer, passages, question):
    assert 0.0 <= support(answer, passages, question=question).share <= 1.0


@given(
    st.lists(st.sampled_from(["the red tower", "Otto Lund", "412 steps", "青木健一", "北の橋"]), min_size=1, max_size=3)
)
def test_a_passage_supports_itself(pieces):
    text = ". ".join(pieces)
    assert support(text, [text]).share == pytest.approx(1.0)
