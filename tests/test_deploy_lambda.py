"""The script that builds Lambda's zip: what it leaves out, and that the same files give the same bytes."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from yamabiko.gateway import lambda_handler

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_zip", ROOT / "deploy" / "lambda" / "build_zip.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installed(tmp_path):
    """A folder as pip leaves it."""
    folder = tmp_path / "installed"
    for name in (
        "yamabiko/gateway/lambda_handler.py",
        "yamabiko/__pycache__/x.pyc",
        "yamabiko/testing/fakes.py",
        "yamabiko/verifiers/data/en/model.onnx",
        "numpy/tests/test_big.py",
        "numpy/_core/include/header.h",
        "bin/yamabiko",
        "yamabiko-0.1.0.dist-info/METADATA",
        "yamabiko-0.1.0.dist-info/RECORD",
        "yamabiko-0.1.0.dist-info/direct_url.json",
        "botocore/data/bedrock-runtime/2023-09-30/service-2.json.gz",
        "botocore/data/ec2/2016-11-15/service-2.json.gz",
        "botocore/data/endpoints.json",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return folder


def test_what_no_function_reads_stays_out(script, installed, tmp_path):
    script.trim(installed)
    script.pack(installed, tmp_path / "made.zip")
    with zipfile.ZipFile(tmp_path / "made.zip") as made:
        assert made.namelist() == [
            "with_secrets",
            "botocore/data/bedrock-runtime/2023-09-30/service-2.json.gz",
            "botocore/data/endpoints.json",
            "yamabiko/gateway/lambda_handler.py",
            "yamabiko/testing/fakes.py",
            "yamabiko-0.1.0.dist-info/METADATA",
        ]


def test_the_same_files_give_the_same_bytes(script, installed, tmp_path):
    first, second = tmp_path / "a" / "first.zip", tmp_path / "second.zip"
    script.pack(installed, first)
    for path in installed.rglob("*.py"):
        path.touch()
        path.chmod(0o600)
    script.pack(installed, second)
    assert first.read_bytes() == second.read_bytes()
    (installed / "yamabiko" / "more.py").write_text("", encoding="utf-8")
    script.pack(installed, second)
    assert first.read_bytes() != second.read_bytes()


def test_bytecode_is_of_the_functions_python_and_asks_for_no_source(script, tmp_path):
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "told.py").write_text("SAID = 'compiled'\n", encoding="utf-8")
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert script.compile_all(folder, own)
    (folder / "told.py").write_text("SAID = 'changed since'\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", "import told; print(told.SAID, told.__spec__.cached)"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert ran.stdout.startswith("compiled ")
    assert not script.compile_all(folder, "3.0")


def test_its_wrapper_runs_secrets_first_and_then_what_lambda_starts(script, installed, tmp_path):
    script.pack(installed, tmp_path / "made.zip")
    with zipfile.ZipFile(tmp_path / "made.zip") as made:
        entry = made.getinfo("with_secrets")
        assert entry.external_attr >> 16 == 0o100755
        wrapper = tmp_path / "with_secrets"
        wrapper.write_bytes(made.read(entry))
    wrapper.chmod(0o755)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    ran = subprocess.run(
        [wrapper, python, "/var/runtime/bootstrap.py"],
        env={"PYTHONPATH": "/a"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [
        "/var/task:/a",
        "-m",
        "yamabiko.aws.secrets",
        str(python),
        "/var/runtime/bootstrap.py",
    ]


def test_what_terraform_starts_is_in_the_package():
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "terraform").rglob("*.tf"))
    for module in (
        "yamabiko.gateway.lambda_handler",
        "yamabiko.gateway.lambda_runtime",
        "yamabiko.costs.lambda_handler",
    ):
        assert f'"{module}' in text
        assert importlib.util.find_spec(module) is not None
    assert f'handler          = local.image ? null : "{lambda_handler.__name__}.handler"' in text


def test_services_that_are_called_are_kept(script):
    from botocore.session import get_session

    assert set(get_session().get_available_services()) >= script.SERVICES - {"signin"}
