"""The files of ``deploy/terraform`` as they stand, wherever terraform itself is not: they parse, and name what exists."""

import re
from functools import cache

import hcl2
import pytest
from lark.exceptions import UnexpectedInput

from terraforming import EXAMPLES, PROVIDER, STACK, VERSION
from yamabiko.settings.tree import known_settings

FILES = sorted([*STACK.rglob("*.tf"), *STACK.rglob("*.tfvars"), *STACK.rglob("*.tftest.hcl")])
MODULES = sorted(path.name for path in (STACK / "modules").iterdir())


@cache
def read(path):
    with path.open(encoding="utf-8") as file:
        return hcl2.load(file)


def bare(text):
    return text.strip('"')


def blocks(folder, kind):
    """The variables, outputs or data sources of a folder, by name."""
    found = {}
    for path in sorted(folder.glob("*.tf")):
        for block in read(path).get(kind, ()):
            found |= {bare(name): body for name, body in block.items() if not name.startswith("__")}
    return found


def texts(folder):
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(STACK).as_posix())
def test_it_parses(path):
    assert read(path)


def test_what_is_broken_would_not_parse(tmp_path):
    broken = tmp_path / "broken.tf"
    broken.write_text('resource "aws_vpc" "this" {\n  cidr_block = \n', encoding="utf-8")
    with pytest.raises(UnexpectedInput):
        read(broken)


def test_the_modules_are_those_that_the_page_names():
    page = (STACK / "README.md").read_text(encoding="utf-8")
    assert {f"`modules/{name}`" for name in MODULES} <= set(re.findall(r"`modules/[a-z-]+`", page))
    assert {"network", "cache", "gateway-lambda", "gateway-ecs", "observability", "costs"} <= set(MODULES)


@pytest.mark.parametrize("folder", [STACK, *sorted((STACK / "modules").iterdir())], ids=lambda folder: folder.name)
class TestFolder:
    def test_every_variable_and_output_says_what_it_is(self, folder):
        for kind in ("variable", "output"):
            for name, body in blocks(folder, kind).items():
                assert bare(body.get("description", "")).endswith("."), f"{kind} {name}"

    def test_every_variable_is_used_and_no_other_is(self, folder):
        declared = set(blocks(folder, "variable"))
        used = set(re.findall(r"\bvar\.(\w+)", texts(folder)))
        assert used == declared

    def test_nothing_is_looked_up_while_it_plans(self, folder):
        """A data source asks AWS: no plan could be made, or judged, without an account."""
        assert blocks(folder, "data") == {}

    def test_no_provider_but_the_one_that_is_pinned(self, folder):
        named = set(re.findall(r'source\s*=\s*"(hashicorp/\w+)"', texts(folder)))
        assert named == {"hashicorp/aws"}
        assert set(re.findall(r'^\s*(?:resource) "([a-z0-9]+)_', texts(folder), flags=re.MULTILINE)) <= {"aws"}


def test_the_provider_is_pinned_to_what_the_plans_were_made_with():
    assert f'version = "{VERSION}"' in texts(STACK)
    assert PROVIDER.name == "aws"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_variables_that_exist_and_all_that_are_asked_for(name):
    given = {name for name in read(STACK / "examples" / f"{name}.tfvars") if not name.startswith("__")}
    variables = blocks(STACK, "variable")
    needed = {name for name, body in variables.items() if "default" not in body}
    assert needed <= given <= set(variables)


def test_no_example_has_an_account_or_an_address_of_somebodys():
    for name in EXAMPLES:
        text = (STACK / "examples" / f"{name}.tfvars").read_text(encoding="utf-8")
        assert set(re.findall(r"\b\d{12}\b", text)) <= {"111122223333", "000000000000"}
        assert set(re.findall(r"[\w.]+@([\w.]+)", text)) <= {"example.com"}


def test_every_setting_that_is_named_exists():
    known = {setting.variable for setting in known_settings().values()}
    for path in FILES:
        for name in set(re.findall(r"\bYAMABIKO_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))):
            assert name in known, f"{path.name}: {name}"


def test_a_wildcard_has_its_reason_beside_it():
    """ "*" as resource: a comment in the line, or one before the statements that says why of all of them."""
    for path in STACK.rglob("*.tf"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.search(r'[Rr]esource\s*=\s*"\*"', line):
                before = "\n".join(lines[:number])
                assert "#" in line or re.search(r'# .*"\*"', before), f"{path.name}:{number + 1}"


def test_nothing_is_made_that_the_provider_would_have_to_fetch():
    assert not [path for path in STACK.rglob("*") if path.name in ("terraform.tfstate", ".terraform.lock.hcl")]
    for path in STACK.rglob("*.tf"):
        for source in re.findall(r'^\s+source\s*=\s*"([^"]+)"', path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert source.startswith(("./", "../")) or source == "hashicorp/aws"


def test_what_checkov_passes_over_has_its_reason():
    lines = (STACK / ".checkov.yaml").read_text(encoding="utf-8").splitlines()
    passed = [line for line in lines if "CKV" in line and line.lstrip().startswith("-")]
    assert len(passed) > 5
    for line in passed:
        assert re.fullmatch(r"  - CKV2?_AWS_\d+ # \S.{10,}", line), line


def test_the_page_says_what_terraform_is_given():
    """Every variable with a name in code on the page exists, and so does every file."""
    page = (STACK / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([a-z_]+) = ", page):
        assert name in blocks(STACK, "variable") or name in ("like", "use_lockfile"), name
    for path in re.findall(r"\]\(([^)#]+)\)", page):
        assert (STACK / path).resolve().is_file(), path
    assert set(re.findall(r"`([\w-]+)\.tfvars`", page)) - {"mine"} == set(EXAMPLES)
