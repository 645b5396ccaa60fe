"""The demo's questions: small, credited, and judged without doubt."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

import yamabiko

FOLDER = Path(yamabiko.__file__).parent / "cli" / "demo_data"
LANGUAGES = ("en", "ja")


def lines(name):
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def folded(text):
    return "".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip("?.!。、")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_stands_for_two_intents(language):
    owner = {}
    for question in lines(f"questions.{language}.jsonl"):
        for text in (question["text"], *question["paraphrases"]):
            assert folded(text)
            assert owner.setdefault(folded(text), question["id"]) == question["id"], text
    assert len(set(owner.values())) == 150


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_realistic_share_is_never_asked_in_other_words(language):
    questions = lines(f"questions.{language}.jsonl")
    plain = sum(not question["paraphrases"] for question in questions)
    assert 0.40 <= plain / len(questions) <= 0.60


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_question_has_its_paragraph_with_the_answer_in_it_and_a_neighbour(language):
    contexts = {context["id"]: context for context in lines(f"contexts.{language}.jsonl")}
    asked = {}
    for question in lines(f"questions.{language}.jsonl"):
        paragraph = contexts[question["context"]]
        assert question["answer"] in paragraph["title"] + paragraph["text"]
        assert question["title"] == paragraph["title"]
        asked.setdefault(question["context"], set()).add(question["id"])
    assert asked.keys() == contexts.keys()
    assert min(len(ids) for ids in asked.values()) >= 2


def test_the_sample_is_small_and_says_whose_it_is():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 400_000
    credit = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    for words in ("XQuAD", "SQuAD", "JSQuAD", "JGLUE", "Disfl-QA", "CC BY-SA 4.0", "CC BY 4.0", "Changes made"):
        assert words in credit
