"""The description of the gateway's own endpoints against the gateway: whatever fits it or not, answers are as it says."""

import os

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from upstreams.processes import chat, running_gateway, running_upstream
from yamabiko.gateway.keys import lines_for
from yamabiko.gateway.openapi import document

KEYS = {"yamabiko-admin": ("*", "admin"), "yamabiko-acme-admin": ("acme", "admin"), "yamabiko-acme": ("acme", "client")}
EXAMPLES = int(os.environ.get("YAMABIKO_FUZZ_EXAMPLES", "500")) // 50


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    table = "".join(lines_for(key, tenant=tenant, role=role) for key, (tenant, role) in KEYS.items())
    (folder / "tenants.toml").write_text(table)
    url = f"sqlite:///{folder}/cache.db"
    with (
        running_upstream() as upstream,
        running_gateway(url=url, upstream=upstream, gateway__tenants_path=folder / "tenants.toml") as gateway,
    ):
        headers = {"authorization": "Bearer yamabiko-acme"}
        with httpx.Client(headers=headers) as client:
            for number in range(5):
                client.post(f"{gateway.url}/chat/completions", json=chat(f"Number {number}?")).raise_for_status()
        yield gateway


UNSAID = {
    "/yamabiko/entries": [positive_data_acceptance],  # OpenAPI can't say: one or more of these parameters
    "/readyz": [negative_data_rejection],  # a probe is answered, whatever else stands in its query
}
"""What the description can't say. ``ignored_auth`` would leave out a key that stands here; test_gateway_ops.py does."""
described = schemathesis.openapi.from_dict(dict(document()))


@described.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whoever_asks_whatever_gets_an_answer_that_is_described(case, gateway):
    for key in KEYS:
        case.call_and_validate(
            base_url=gateway.root,
            headers={"authorization": f"Bearer {key}"},
            excluded_checks=[ignored_auth, *UNSAID.get(case.operation.path, ())],
        )
    assert httpx.get(f"{gateway.root}/healthz").status_code == 200
