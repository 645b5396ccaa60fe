"""Public parts for tests: a fake embedder, clock and model, and the lists of promises that a store must keep."""

from yamabiko.testing.builders import (
    make_entry,
    make_key,
    make_question,
    make_scope,
    tilted,
    unit_vector,
)
from yamabiko.testing.contract_shared import DurableSharedStateContract, SharedStateContract
from yamabiko.testing.fakes import FakeClock, FakeEmbedder, ScriptedModel
from yamabiko.testing.store_contract import BudgetContract, DurableContract, StoreContract

__all__ = [
    "BudgetContract",
    "DurableContract",
    "DurableSharedStateContract",
    "FakeClock",
    "FakeEmbedder",
    "ScriptedModel",
    "SharedStateContract",
    "StoreContract",
    "make_entry",
    "make_key",
    "make_question",
    "make_scope",
    "tilted",
    "unit_vector",
]
