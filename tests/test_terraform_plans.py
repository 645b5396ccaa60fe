"""The three sizes planned anew, without AWS: what is recorded is what Terraform says.

Where terraform or its provider is missing this is left out, with the reason; the policies on recorded plans are judged
everywhere (``test_terraform_policies.py``).
"""

import json

import pytest

from terraforming import RECORDED, missing, prepare

WHY = missing()
pytestmark = pytest.mark.skipif(WHY is not None, reason=WHY.reason if WHY is not None else "")


@pytest.fixture(scope="module")
def terraform(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("plans"))


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_the_recorded_plan_is_what_terraform_says(terraform, name):
    assert terraform.read(name) == json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
