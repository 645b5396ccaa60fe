"""Terraform for the tests: where it is, what it plans, and those plans as the policy tests read them.

    python tests/terraforming.py        # make terraform-plans: record the plans anew

Plans are made without AWS: false keys, no look-ups, and a provider from a folder (``YAMABIKO_TF_MIRROR``, or one of the
usual places). What is recorded of a plan is small and does not change from run to run: of each resource its type, what
is known of it, and which resources the rest comes from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACK = ROOT / "deploy" / "terraform"
RECORDED = ROOT / "tests" / "data" / "terraform"
EXAMPLES = tuple(sorted(path.stem for path in (STACK / "examples").glob("*.tfvars")))
PARTS = "parts"
PLANS = (*EXAMPLES, PARTS)
PROVIDER = Path("registry.terraform.io") / "hashicorp" / "aws"
VERSION = "5.100.0"
_PLACES = (
    *("~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"),
    *("/opt/*", "/srv/*", "/usr/local/lib/*", "/var/lib/*"),
)
_OFFLINE = """
provider "aws" {
  access_key                  = "offline"
  secret_key                  = "offline"
  allowed_account_ids         = null
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
}
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no Terraform to run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Terraform:
    """A copy of ``deploy/terraform``, initialised, that asks nothing of the network."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, under: str = ".") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder / under,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def plan(self, name: str, *variables: str) -> subprocess.CompletedProcess[str]:
        """Plan an example, or the parts; the plan is written to NAME.plan in its folder."""
        where, files = ("tests/parts", ()) if name == PARTS else (".", (f"-var-file=examples/{name}.tfvars",))
        given = [f"-var={variable}" for variable in variables]
        options = ("-input=false", "-no-color", "-refresh=false", "-lock=false", f"-out={name}.plan")
        return self.run("plan", *options, *files, *given, under=where)

    def read(self, name: str) -> dict:
        """The plan of that name, as it is recorded. Raises ``CalledProcessError``."""
        made = self.plan(name)
        if made.returncode:
            raise subprocess.CalledProcessError(made.returncode, made.args, made.stdout, made.stderr)
        shown = self.run("show", "-json", f"{name}.plan", under="tests/parts" if name == PARTS else ".")
        shown.check_returncode()
        return {"sources": sources(name), **reduced(json.loads(shown.stdout))}


def sources(name: str) -> str:
    """A digest of the files that a plan follows from: another one says that it must be recorded anew."""
    own = (
        [STACK / "tests" / PARTS / "main.tf"]
        if name == PARTS
        else [*STACK.glob("*.tf"), STACK / f"examples/{name}.tfvars"]
    )
    found = hashlib.sha256()
    for path in sorted([*own, *STACK.glob("modules/**/*.tf")]):
        found.update(path.relative_to(STACK).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


@cache
def mirror() -> Path | None:
    """A folder of providers that has the one that is pinned."""
    named = os.environ.get("YAMABIKO_TF_MIRROR", "")
    folders = [Path(named)] if named else [Path(found) for place in _PLACES for found in _matching(place)]
    return next((folder for folder in folders if (folder / PROVIDER / VERSION).is_dir()), None)


def _matching(place: str) -> list[Path]:
    path = Path(place).expanduser()
    return sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []


def missing() -> Missing | None:
    """Why Terraform can't be run here; None where it can."""
    if shutil.which("terraform") is None:
        return Missing("terraform is not on the path: its init, validate, plan and test are left out")
    if mirror() is None:
        return Missing(f"no folder has the provider hashicorp/aws {VERSION} (YAMABIKO_TF_MIRROR names one)")
    return None


def prepare(folder: Path) -> Terraform:
    """A copy of the stack in ``folder``, initialised with the provider of the mirror. Raises ``CalledProcessError``."""
    copy = folder / "terraform"
    shutil.copytree(STACK, copy, ignore=shutil.ignore_patterns(".terraform*", "build", "*.tfstate*"))
    for place in (copy, copy / "tests" / "parts"):
        (place / "offline_override.tf").write_text(_OFFLINE, encoding="utf-8")
    (copy / "build").mkdir()
    with zipfile.ZipFile(copy / "build" / "yamabiko-arm64.zip", "w") as packed:
        packed.writestr(zipfile.ZipInfo("empty"), "")  # plans know its digest: the same one everywhere
    told = folder / "terraform.rc"
    told.write_text(
        "disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n"
        f'    path    = "{mirror()}"\n    include = ["registry.terraform.io/hashicorp/aws"]\n  }}\n}}\n',
        encoding="utf-8",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    environment = {
        **kept,
        "TF_CLI_CONFIG_FILE": str(told),
        "TF_IN_AUTOMATION": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    terraform = Terraform(copy, environment)
    for under in (".", "tests/parts"):
        begun = terraform.run("init", "-input=false", "-no-color", "-backend=false", under=under)
        if begun.returncode:
            raise subprocess.CalledProcessError(begun.returncode, begun.args, begun.stdout, begun.stderr)
    return terraform


def reduced(plan: dict) -> dict:
    """Of a plan in Terraform's JSON what the tests read; the same for the same files."""
    configured = _Configured(plan["configuration"]["root_module"])
    unknown = {change["address"]: change["change"].get("after_unknown", {}) for change in plan["resource_changes"]}
    resources = {
        resource["address"]: {
            "type": resource["type"],
            "values": _known(resource.get("values", {})),
            "unknown": sorted(name for name, is_so in unknown.get(resource["address"], {}).items() if _any(is_so)),
            "from": configured.origins(resource["address"]),
        }
        for resource in _resources(plan["planned_values"]["root_module"])
        if resource["mode"] == "managed"
    }
    return {"format_version": plan["format_version"], "resources": dict(sorted(resources.items()))}


def _resources(module: dict):
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from _resources(child)


def _known(value):
    """Without what is null or empty, and without the tags that the provider adds to everything."""
    if isinstance(value, dict):
        found = {name: _known(inner) for name, inner in value.items() if name != "tags_all"}
        return {name: inner for name, inner in found.items() if inner not in (None, [], {}, "")}
    return [_known(inner) for inner in value] if isinstance(value, list) else value


def _any(value) -> bool:
    if isinstance(value, dict):
        return any(map(_any, value.values()))
    return any(map(_any, value)) if isinstance(value, list) else bool(value)


class _Configured:
    """Follows an argument to the resources that it comes from: through variables, module calls and outputs."""

    def __init__(self, root: dict) -> None:
        self._root = root

    def origins(self, address: str) -> dict[str, list[str]]:
        """For each argument of a resource the resources (without their indices) that its value comes from."""
        bare = re.sub(r"\[[^\]]*\]", "", address)
        path = tuple(re.findall(r"module\.([^.]+)\.", bare))
        here = ".".join(bare.split(".")[-2:])
        module = self._module(path)
        (resource,) = (one for one in module["resources"] if one["address"] == here)
        found = {
            name: sorted(set(self._follow(path, expression)))
            for name, expression in resource.get("expressions", {}).items()
        }
        return {name: origins for name, origins in found.items() if origins}

    def _module(self, path: tuple[str, ...]) -> dict:
        module = self._root
        for name in path:
            module = module["module_calls"][name]["module"]
        return module

    def _follow(self, path: tuple[str, ...], expression):
        for reference in _references(expression):
            kind, *rest = re.sub(r"\[[^\]]*\]", "", reference).split(".")
            if kind == "var" and path:
                call = self._module(path[:-1])["module_calls"][path[-1]]
                yield from self._follow(path[:-1], call.get("expressions", {}).get(rest[0], {}))
            elif kind == "module" and len(rest) > 1:
                output = self._module((*path, rest[0]))["outputs"][rest[1]]
                yield from self._follow((*path, rest[0]), output["expression"])
            elif kind.startswith("aws_") and rest:
                yield "".join(f"module.{name}." for name in path) + f"{kind}.{rest[0]}"


def _references(expression):
    if isinstance(expression, dict):
        yield from expression.get("references", ())
        for inner in expression.values():
            yield from _references(inner)
    elif isinstance(expression, list):
        for inner in expression:
            yield from _references(inner)


def main() -> None:
    """Record the plans."""
    if (why := missing()) is not None:
        sys.exit(why.reason)
    RECORDED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        terraform = prepare(Path(folder))
        for name in PLANS:
            text = json.dumps(terraform.read(name), indent=1, ensure_ascii=False) + "\n"
            (RECORDED / f"{name}.json").write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name}: {len(text):,} characters\n")


if __name__ == "__main__":
    main()
