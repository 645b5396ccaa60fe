"""Build the zip that AWS Lambda runs: the gateway, the warm-up and the report on costs, one package for all three.

    python deploy/lambda/build_zip.py --architecture arm64 --output deploy/terraform/build/yamabiko-arm64.zip

Wheels for Lambda's processor and Python are asked of the package index: nothing is compiled, no container is needed.
The same wheels give the same bytes, so that Terraform deploys only what has changed. Of botocore's descriptions of all
services those stay that are called. On-device models are left out: Titan or Cohere embed here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = "gateway,memorydb,aws"
PROCESSORS = ("arm64", "x86_64")
GLIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""What Amazon Linux 2023, under Lambda's Python 3.12 and newer, runs: glibc 2.34."""
SERVICES = frozenset(
    {"bedrock", "bedrock-agent-runtime", "bedrock-runtime", "ce", "cloudwatch", "memorydb", "s3", "secretsmanager"}
    | {"signin", "sns", "sso", "sso-oidc", "sts"}
)
"""Folders of botocore's data that stay."""
LARGEST_UPLOAD_BYTES = 50 * 1024**2
LARGEST_UNPACKED_BYTES = 250 * 1024**2
"""Source: AWS Lambda developer guide, "Lambda quotas" (deployment package)."""
WRAPPER = """#!/bin/sh
# AWS_LAMBDA_EXEC_WRAPPER: secrets first, then what Lambda starts.
export PYTHONPATH="/var/task${PYTHONPATH:+:$PYTHONPATH}"
exec "$1" -m yamabiko.aws.secrets "$@"
"""


def install(folder: Path, architecture: str, python: str) -> None:
    """Put Yamabiko, what the gateway needs and nothing else into ``folder``. Raises ``CalledProcessError``."""
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, str(ROOT)], check=True)
        (wheel,) = Path(wheels).glob("yamabiko-*.whl")
        platforms = [word for glibc in GLIBC for word in ("--platform", f"{glibc}_{machine}")]
        target = ["--target", str(folder), "--only-binary", ":all:", "--implementation", "cp"]
        package = f"yamabiko[{EXTRAS}] @ {wheel.as_uri()}"
        subprocess.run([*pip, "install", *target, "--python-version", python, *platforms, package], check=True)


def trim(folder: Path) -> None:
    """Remove what no function reads: tests, bytecode, commands, headers, and botocore's other services."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.name in ("__pycache__", "tests", "include"):
            shutil.rmtree(path)
    shutil.rmtree(folder / "bin", ignore_errors=True)
    shutil.rmtree(folder / "yamabiko" / "verifiers" / "data", ignore_errors=True)  # for the on-device embedder
    for service in (folder / "botocore" / "data").glob("*/"):
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    for told in ("direct_url.json", "RECORD", "INSTALLER", "REQUESTED"):  # of the machine that built it
        for path in folder.glob(f"*.dist-info/{told}"):
            path.unlink()


def compile_all(folder: Path, python: str) -> bool:
    """Add bytecode, which Lambda can't write: without it a cold start compiles everything, some 2 s of a processor.

    False where there is no interpreter of that version. The bytecode does not ask for the time of its source: a zip's
    files have none.
    """
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = sys.executable if python == own else shutil.which(f"python{python}")
    if found is None:
        return False
    how = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/var/task"]
    subprocess.run([found, "-m", "compileall", *how, str(folder)], check=False, capture_output=True)
    return True


def pack(folder: Path, output: Path) -> int:
    """Write the zip; the same files give the same bytes. The size of what is in it."""
    unpacked = 0
    output.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, data, mode in _files(folder):
            entry = zipfile.ZipInfo(name)  # of 1980: no file's time
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is built: modes count
            entry.external_attr = (0o100000 | mode) << 16
            packed.writestr(entry, data)
            unpacked += len(data)
    return unpacked


def _files(folder: Path) -> Iterator[tuple[str, bytes, int]]:
    yield "with_secrets", WRAPPER.encode(), 0o755
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes(), 0o644


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--architecture", choices=PROCESSORS, default="arm64")
    parser.add_argument("--python", default="3.13", help="Lambda's Python, as the runtime of the function says")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--add", type=Path, action="append", default=[], help="a further file, such as a price file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        install(folder, options.architecture, options.python)
        trim(folder)
        if not compile_all(folder, options.python):
            print(f"python{options.python} is not here: without its bytecode cold starts take seconds longer")
        for file in options.add:
            shutil.copy(file, folder / file.name)
        unpacked = pack(folder, options.output)
    packed = options.output.stat().st_size
    print(f"{options.output}: {packed / 1e6:.1f} MB, {unpacked / 1e6:.1f} MB unpacked")
    if packed > LARGEST_UPLOAD_BYTES or unpacked > LARGEST_UNPACKED_BYTES:
        sys.exit("Lambda takes zips of at most 50 MB, and 250 MB unpacked")


if __name__ == "__main__":
    main()
