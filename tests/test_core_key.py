"""Step 2: what two requests must share before they may share an answer. The cases come from other caches' bugs."""

from dataclasses import fields

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from yamabiko.core.key import key_of, question_digest, with_embedder
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.message import Message
from yamabiko.types import Policy, Request


def key(request, *, embedder="minilm", policy=None):
    return key_of(request, normalise(request), embedder=embedder, policy=policy or Policy())


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


BASE = {
    "messages": [user("How old is he?")],
    "model": "m",
    "system": "Be brief.",
    "tenant": "acme",
    "user": "ann",
    "tools": [{"name": "search"}],
    "tool_choice": {"type": "auto"},
    "response_format": {"type": "json_object"},
    "sampling": {"temperature": 0},
    "knowledge": "v1",
}


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("model", "m2"),
        ("system", "Be long."),
        ("system", ""),
        ("tenant", "umbrella"),
        ("user", "bob"),
        ("tools", [{"name": "search"}, {"name": "mail"}]),
        ("tools", None),
        ("tool_choice", {"type": "none"}),
        ("response_format", {"type": "text"}),
        ("sampling", {"temperature": 1}),
        ("sampling", {"temperature": 0, "seed": 1}),
        ("knowledge", "v2"),
        ("permissions", ("staff",)),
        ("messages", [user("Tell me about Ann"), assistant("She is 30."), user("How old is he?")]),
    ],
)
def test_whatever_changes_an_answer_is_part_of_the_scope(field, other):
    one, two = key(Request(**BASE)), key(Request(**{**BASE, field: other}))
    assert one.scope.digest != two.scope.digest
    assert one.scope.content != two.scope.content
    assert one.digest != two.digest


def test_every_field_of_a_request_is_in_the_scope_or_known_not_to_change_the_answer():
    assert {field.name for field in fields(Request)} == {*BASE, "permissions", "tags", "category", "bypass"}


def test_system_prompt_is_part_of_the_scope():
    pirate, lawyer = (Request("Who are you?", system=system) for system in ("You are a pirate.", "You are a lawyer."))
    assert key(pirate).scope != key(lawyer).scope


def test_continue_in_two_chats_does_not_collide():
    chats = (
        [user("Write a poem"), assistant("Roses"), user("continue")],
        [user("Write code"), assistant("x"), user("continue")],
    )
    assert len({key(Request(chat)).digest for chat in chats}) == 2


def test_how_old_is_he_after_two_people():
    chats = (
        [user("Who is the king?"), assistant("Charles."), user("How old is he?")],
        [user("Who is the pope?"), assistant("Leo."), user("How old is he?")],
    )
    assert len({key(Request(chat)).scope.digest for chat in chats}) == 2


def test_who_said_it_matters():
    one = Request([user("yes"), assistant("no"), user("why?")])
    two = Request([assistant("yes"), user("no"), user("why?")])
    assert key(one).scope != key(two).scope


def test_an_agents_turns_with_empty_text_do_not_match_each_other():
    requests = [
        Request([user("weather?"), {"role": "tool", "tool_call_id": "1", "content": result}])
        for result in ("sunny", "rain")
    ] + [Request([{"role": "user", "content": [{"type": "tool_result", "content": result}]}]) for result in ("a", "b")]
    assert all(normalise(request).text == "" for request in requests)
    assert len({key(request).digest for request in requests}) == 4


def test_two_images_with_the_same_question_do_not_collide():
    requests = [
        Request(
            [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image", "url": url}]}]
        )
        for url in ("a", "b")
    ]
    assert len({key(request).digest for request in requests}) == 2


def test_an_image_before_and_after_the_text_are_two_requests():
    text, image = {"type": "text", "text": "What follows?"}, {"type": "image", "url": "a"}
    requests = [Request([{"role": "user", "content": content}]) for content in ([text, image], [image, text])]
    assert len({key(request).digest for request in requests}) == 2


def test_a_filter_does_not_run_into_the_question():
    """In one peer, the prompt "x" with the filter {a: b} had the key of the prompt "xab"."""
    one, two = Request("x", sampling={"a": "b"}), Request("xab")
    assert key(one).digest != key(two).digest


def test_a_system_prompt_is_not_a_system_message():
    assert key(Request("hi", system="s")).scope != key(Request([{"role": "system", "content": "s"}, user("hi")])).scope


def test_language_is_part_of_the_scope():
    assert key(Request("password")).scope != key(Request("パスワード")).scope


def test_the_embedder_parts_what_is_compared_by_meaning_and_leaves_the_exact_tier_alone():
    one, two = key(Request("hi"), embedder="minilm"), key(Request("hi"), embedder="use-m3")
    assert one.scope.digest != two.scope.digest
    assert (one.digest, one.scope.content) == (two.digest, two.scope.content)
    assert with_embedder(one.scope, "hi", "use-m3") == two.scope


def test_the_key_of_a_question_can_be_made_again_from_content_and_turn():
    found = key(Request(**BASE))
    assert question_digest(found.scope.content, Request("How old is he?").messages[0], "how old is he?") == found.digest


def test_the_scope_knows_its_parts_by_name():
    scope = key(Request(**BASE), embedder="minilm").scope
    assert (scope.tenant, scope.user, scope.model, scope.embedder) == ("acme", "ann", "m", "minilm")


def test_model_families_share_answers_and_nothing_else_does():
    policy = Policy(model_families={"haiku-2026-01": "haiku", "haiku-2026-06": "haiku"})
    old, new, other = (key(Request("hi", model=m), policy=policy) for m in ("haiku-2026-01", "haiku-2026-06", "opus"))
    assert old == new
    assert old.scope != other.scope
    assert old.scope.model == "haiku"


def test_differences_of_form_share_a_key():
    one = key(Request("How do I reset my password?", sampling={"temperature": 0, "seed": 1}))
    two = key(Request("how do i  reset my password??", sampling={"seed": 1, "temperature": 0}))
    assert one == two


def test_tags_do_not_change_the_key():
    assert key(Request("hi", tags=["faq"])) == key(Request("hi"))


def test_digests_are_whole_sha_256():
    found = key(Request("hi"))
    assert (len(found.digest), len(found.scope.content), len(found.scope.digest), len(found.hex)) == (32, 32, 32, 64)


def test_keys_are_the_same_in_every_process_and_release():
    """Stored answers are found by them: whoever changes what goes in must raise the version in ``core/key.py``."""
    found = key(Request(**BASE))
    assert found.scope.content.hex() == "2d7b9d17b0d5f32417d2722bb7621e08f360ee929771a92b4e4c7913404cad71"
    assert found.scope.digest.hex() == "1e8c56818ae5c5734ff29235b43dfb04b829c3474db8704243470e6cbebf2742"
    assert found.hex == "ca7dde5c89d8f6de32bc37f12a8ef37dc25ae445be9e0b17156affb00c20cefc"


def test_half_a_surrogate_pair_is_refused_without_repeating_the_text():
    with pytest.raises(InvalidRequest, match="surrogate") as caught:
        key(Request("secret \ud800"))
    assert "secret" not in str(caught.value)


TEXT = st.text(alphabet="ab:1", max_size=6)
TURNS = st.lists(
    st.builds(
        Message, role=st.sampled_from(["user", "assistant"]), text=TEXT, parts=st.lists(TEXT, max_size=2).map(tuple)
    ),
    min_size=1,
    max_size=3,
)
REQUESTS = st.builds(
    Request,
    TURNS,
    model=TEXT,
    system=TEXT,
    tenant=TEXT,
    user=TEXT,
    tools=TEXT,
    tool_choice=TEXT,
    response_format=TEXT,
    sampling=TEXT,
    knowledge=TEXT,
)


@given(REQUESTS, REQUESTS)
@settings(max_examples=400, deadline=None)
def test_two_requests_that_differ_have_different_keys(one, two):
    folded = (normalise(one).question, one.messages[-1].role, one.messages[-1].parts)
    assume(one != two and (one.messages[:-1] != two.messages[:-1] or folded != (normalise(two).question, two.messages[-1].role, two.messages[-1].parts)
                           or any(getattr(one, f) != getattr(two, f) for f in BASE if f != "messages")))  # fmt: skip
    assert key(one).digest != key(two).digest


NAMES = [name for name in BASE if name != "messages"]


@given(REQUESTS, st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_moving_characters_over_a_field_boundary_changes_the_scope(request_, giver, taker, moved):
    assume(giver != taker)
    moved = moved.encode("utf-8", "replace").decode()
    values = {name: getattr(request_, name) for name in NAMES}
    before = Request(request_.messages, **{**values, giver: values[giver] + moved})
    after = Request(request_.messages, **{**values, taker: moved + values[taker]})
    assert key(before).scope.digest != key(after).scope.digest


@given(TURNS, st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_splitting_a_turn_in_two_changes_the_scope(turns, at):
    first = turns[0]
    halves = [
        Message(role=first.role, text=first.text[:at]),
        Message(role=first.role, text=first.text[at:], parts=first.parts),
    ]
    question = Message(role="user", text="why?")
    assert key(Request([*turns, question])).scope != key(Request([*halves, *turns[1:], question])).scope
