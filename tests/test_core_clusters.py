"""Which of many questions are one: a pure function, on the real on-device embedder in English and Japanese."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.build import make_embedder
from yamabiko.core.clusters import BLOCK, FLOOR, NEAREST, Weighted, clusters, floor_for, served_alike
from yamabiko.core.normalise import normalise
from yamabiko.settings import Settings
from yamabiko.types import Policy, Request

ASKED = {
    "en": [
        ("How do I reset my password?", 40, "password"),
        ("How can I reset my password?", 25, "password"),
        ("how do i reset my password", 3, "password"),
        ("How do I reset password 2 of my 3 passwords?", 2, "numbered"),
        ("How do I cancel my subscription?", 50, "cancel"),
        ("How can I cancel my subscription?", 1, "cancel"),
        ("How do I not cancel my subscription?", 1, "keep"),
        ("What is the refund window for orders over $50?", 7, "50"),
        ("What is the refund window for orders over $80?", 6, "80"),
    ],
    "ja": [
        ("パスワードを再設定するにはどうすればいいですか？", 30, "password"),
        ("パスワードを再設定するにはどうすればよいですか？", 20, "password"),
        ("領収書を2枚ください", 9, "two"),
        ("領収書を3枚ください", 8, "three"),
        ("返品できる期間は何日ですか？", 5, "returns"),
        ("返品できない期間は何日ですか？", 4, "no returns"),
    ],
}


def embedded(asked):
    """The questions with their vectors, and the model that made them."""

    async def run():
        embedder = make_embedder(Settings())
        texts = [normalise(Request(text)).text for text, _, _ in asked]
        vectors = await embedder.embed(texts)
        model = embedder.model_for(texts[0])
        await embedder.close()
        return model, [
            Weighted(text=text, requests=count, apart="a", vector=vector)
            for text, (_, count, _), vector in zip(texts, asked, vectors, strict=True)
        ]

    return asyncio.run(run())


@pytest.mark.parametrize("language", ASKED)
def test_wordings_are_gathered_and_what_guards_tell_apart_is_not(language):
    asked = ASKED[language]
    model, questions = embedded(asked)
    policy = Policy()
    found = clusters(questions, served_alike(policy, model), floor=floor_for(policy, model))
    meant = [{asked[at][2] for at in cluster.members} for cluster in found]
    assert all(len(meanings) == 1 for meanings in meant)  # never two questions in one
    password = next(cluster for cluster in found if asked[cluster.leader][2] == "password")
    assert len(password.members) >= 2  # and these are one
    assert password.leader == password.members[0] == 0  # asked the most: its words are the ones to be answered
    assert password.requests == sum(asked[at][1] for at in password.members)
    assert [cluster.requests for cluster in found] == sorted((cluster.requests for cluster in found), reverse=True)


def test_questions_of_two_scopes_are_never_one():
    _, (first, second, *_) = embedded(ASKED["en"])
    other = Weighted(text=second.text, requests=second.requests, apart="b", vector=second.vector)
    assert len(clusters([first, second], lambda *_: True, floor=0.5)) == 1
    assert len(clusters([first, other], lambda *_: True, floor=0.5)) == 2


def test_what_has_no_vector_stays_alone():
    found = clusters([Weighted(text="a", requests=n, apart=0) for n in (1, 3, 2)], lambda *_: True, floor=-1.0)
    assert [(cluster.leader, cluster.requests) for cluster in found] == [(1, 3), (2, 2), (0, 1)]
    assert clusters([], lambda *_: True, floor=0.0) == []


def test_an_embedder_that_nobody_measured_goes_by_its_cosine_and_the_guards():
    policy = Policy()
    alike = served_alike(policy, "a model that nobody knows")
    assert floor_for(policy, "a model that nobody knows") == FLOOR
    assert alike("How do I reset it?", "How can I reset it?", FLOOR)
    assert not alike("Give me 2 of them", "Give me 3 of them", 0.999)
    assert floor_for(Policy(max_error_rate=None, min_similarity=0.8), "any") == 0.8


def on_a_circle(angles):
    return [
        Weighted(
            text=str(at), requests=requests, apart=0, vector=np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)
        )
        for at, (angle, requests) in enumerate(angles)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 6.28), st.integers(0, 50)), max_size=60),
    st.floats(0.5, 0.999),
    st.sets(st.integers(0, 59)),
)
def test_every_question_is_in_one_cluster_near_its_leader_and_none_is_lost(angles, floor, strangers):
    questions = on_a_circle(angles)
    looked = []

    def alike(leader, asked, cosine):
        looked.append((leader, asked, cosine))
        return int(asked) not in strangers

    found = clusters(questions, alike, floor=floor)
    assert sorted(at for cluster in found for at in cluster.members) == list(range(len(questions)))
    assert sum(cluster.requests for cluster in found) == sum(requests for _, requests in angles)
    assert len(looked) <= NEAREST * len(questions)
    for cluster in found:
        leader = questions[cluster.leader]
        for at in cluster.members[1:]:
            assert at not in strangers
            assert float(leader.vector @ questions[at].vector) >= floor - 1e-6
            assert questions[at].requests <= leader.requests
    leaders = {cluster.leader for cluster in found}
    for at in leaders - strangers:  # whoever leads had nobody to join
        earlier = [
            one for one in leaders if one != at and (-questions[one].requests, one) < (-questions[at].requests, at)
        ]
        assert all(float(questions[one].vector @ questions[at].vector) < floor + 1e-6 for one in earlier)


def test_blocks_change_nothing():
    spread = np.linspace(0, 6.28, 3 * BLOCK)
    questions = on_a_circle([(float(angle), 1) for angle in np.random.default_rng(3).permutation(spread)])
    found = clusters(questions, lambda *_: True, floor=0.9)
    for cluster in found:
        for at in cluster.members:
            near = [one.leader for one in found if float(questions[one.leader].vector @ questions[at].vector) >= 0.9]
            assert cluster.leader in near
    assert len(found) < 20
