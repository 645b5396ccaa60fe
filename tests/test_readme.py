"""The README's programs run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
SAID = ["Click on *Forgot password* and follow the link in the mail.", "Click on *Forgot password*."]


@pytest.mark.parametrize(("program", "said"), list(zip(PROGRAMS, SAID, strict=True)), ids=["sync", "async"])
def test_a_program_of_the_readme_runs(program, said, tmp_path):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert said in run.stdout
    assert (tmp_path / "cache.db").exists()
