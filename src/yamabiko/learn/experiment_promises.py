"""What stands behind each arm of an experiment: the certificate of its policy, for the traffic as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yamabiko.learn.experiment_report import NOTHING_CERTIFIED
from yamabiko.learn.namespaces import embedder_of, namespace_of
from yamabiko.learn.records import decode_standing, promise_of, standing_name
from yamabiko.learn.versions import versions_of
from yamabiko.policy import Policy
from yamabiko.ports import SharedState


async def promises_of(shared: SharedState, models: Sequence[str], policies: Mapping[str, Policy]) -> dict[str, str]:
    """What is promised of each policy, in words, under the name that it has in ``policies``.

    ``models``: the embedding models that the cache uses, as ``Embedder.model_for`` names them. Raises ``StoreError``.
    """
    roots = [namespace_of(model, "", "") for model in models]
    stored = {root: await shared.load_state(standing_name(root)) for root in roots}
    data = {root: one.data for root, one in stored.items() if one is not None}
    return {name: _of(policy, data) for name, policy in policies.items()}


def _of(policy: Policy, data: Mapping[str, bytes]) -> str:
    if policy.max_error_rate is None:
        return "nothing is promised, min_similarity alone decides"
    if len(data) == 1:
        ((root, one),) = data.items()
        return _said(policy, root, one)
    return (
        ", ".join(f"{embedder_of(root)}: {_said(policy, root, one)}" for root, one in data.items()) or NOTHING_CERTIFIED
    )


def _said(policy: Policy, root: str, data: bytes) -> str:
    standing, why = decode_standing(data, root)
    if standing is None:
        return why
    known = standing.of(promise_of(policy), versions_of(embedder_of(root), policy))
    if known is None:
        return NOTHING_CERTIFIED
    if known.calibration == "certified" and known.error_upper is not None:
        return f"at most {known.error_upper:.2%} wrong per {policy.on}, at {policy.confidence:.0%} confidence"
    return f"{NOTHING_CERTIFIED} ({known.reason})" if known.reason else NOTHING_CERTIFIED
