"""Names of namespaces: short, telling nobody's name, and never two things under one name."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.learn.namespaces import chain, embedder_of, namespace_of, root

ACME = sha256(b"acme").hexdigest()[:16]
anything = st.text(st.characters(), max_size=300)


@pytest.mark.parametrize(
    ("embedder", "tenant", "category", "namespace"),
    [
        ("minilm", "", "", "minilm"),
        ("minilm", "acme", "", f"minilm/t:{ACME}"),
        ("minilm", "acme", "faq", f"minilm/t:{ACME}/c:faq"),
        ("minilm", "", "order-status_2.1", "minilm/c:order-status_2.1"),
        ("BAAI/bge-m3", "", "faq", "BAAI%2Fbge-m3/c:faq"),
    ],
)
def test_a_namespace_is_model_then_tenant_then_category(embedder, tenant, category, namespace):
    found = namespace_of(embedder, tenant, category)
    assert found == namespace
    assert embedder_of(found) == embedder


def test_the_chain_goes_from_the_namespace_to_the_root():
    namespace = namespace_of("a/b", "acme", "faq")
    own, tenant, model = chain(namespace)
    assert own == namespace
    assert tenant == namespace_of("a/b", "acme", "")
    assert model == root(namespace) == namespace_of("a/b", "", "")
    assert chain(namespace_of("m", "", "faq")) == (namespace_of("m", "", "faq"), "m")
    assert chain("m") == ("m",)


@given(anything, anything, anything)
def test_any_names_make_a_namespace_that_a_store_takes(embedder, tenant, category):
    namespace = namespace_of(embedder, tenant, category)
    assert 0 < len(namespace) <= 200
    assert namespace.isascii()
    assert namespace.isprintable()
    assert len(chain(namespace)) == 1 + bool(tenant) + bool(category)
    assert all(namespace.startswith(level) for level in chain(namespace))
    assert root(namespace) == namespace_of(embedder, "", "")


@given(st.tuples(anything, anything, anything), st.tuples(anything, anything, anything))
def test_different_names_make_different_namespaces(one, other):
    if one != other and (one[0] or "none", *one[1:]) != (other[0] or "none", *other[1:]):
        assert namespace_of(*one) != namespace_of(*other)


@pytest.mark.parametrize(
    "pair", [("FAQ", "faq"), ("請求", "返品"), ("a/c:b", "a-c-b"), ("x" * 41, "x" * 42), ("é", "e")]
)
def test_odd_categories_stay_apart(pair):
    assert len({namespace_of("m", "t", category) for category in pair}) == 2


def test_a_tenants_name_is_not_to_be_read():
    namespace = namespace_of("minilm", "Yamada Trading", "faq")
    assert "amada" not in namespace
    assert "rading" not in namespace
