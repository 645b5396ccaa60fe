"""Terraform itself over ``deploy/terraform``, without AWS: format, validity, and its own tests with a mock provider.

Where terraform or its provider is missing this is left out, with the reason.
"""

import json

import pytest

from terraforming import STACK, missing, prepare

WHY = missing()
pytestmark = pytest.mark.skipif(WHY is not None, reason=WHY.reason if WHY is not None else "")


@pytest.fixture(scope="module")
def terraform(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("runs"))


def test_it_is_formatted(terraform):
    checked = terraform.run("fmt", "-check", "-recursive", "-list=true", str(STACK))
    assert (checked.returncode, checked.stdout) == (0, "")


def test_it_is_valid_and_warns_of_nothing(terraform):
    said = json.loads(terraform.run("validate", "-json").stdout)
    assert (said["valid"], said["diagnostics"]) == (True, [])


def test_an_argument_that_does_not_exist_would_be_found(terraform):
    module = terraform.folder / "modules" / "waf" / "wrong.tf"
    module.write_text('resource "aws_sns_topic" "wrong" {\n  topic_name = "x"\n}\n', encoding="utf-8")
    try:
        module_alone = terraform.run("validate", "-json")
    finally:
        module.unlink()
    assert "topic_name" in json.loads(module_alone.stdout)["diagnostics"][0]["detail"]


def test_its_own_tests_pass(terraform):
    """Two sizes applied to a mock, one planned, and what is refused."""
    run = terraform.run("test", "-json", "-no-color")
    said = [json.loads(line) for line in run.stdout.splitlines()]
    told = [line["test_run"] for line in said if line["type"] == "test_run"]
    runs = {one["run"]: one["status"] for one in told if "status" in one}
    assert run.returncode == 0, [line["diagnostic"]["detail"] for line in said if line["type"] == "diagnostic"]
    assert runs == dict.fromkeys(("function", "tasks", "stream", "refusals"), "pass")
