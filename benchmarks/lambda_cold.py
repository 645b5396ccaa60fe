"""The gateway as a Lambda function, cold: imports, beginning, first answer, memory; and warm, by tier.

    python benchmarks/lambda_cold.py                                in this environment
    python benchmarks/lambda_cold.py --python ENVIRONMENT/bin/python    in one as it is deployed (what is recorded)

``OPENBLAS_NUM_THREADS=1`` is set, as a function's environment should have it. The second environment holds
``yamabiko[gateway,memorydb,aws]`` and awslambdaric, and nothing else: packages that happen to be there are imported by
others (rich by httpx). Everything is compiled first, as a package for Lambda must be. Beside other programs
``chrt -f 10 python benchmarks/lambda_cold.py`` has wall times that are its own; the result says how it was scheduled.

Each round is a new process under AWS's own runtime client (``awslambdaric``) and a stand-in of Lambda's runtime API, with
Titan and Converse from the stand-in of Bedrock (which take no time) and a Valkey server for the store, each on this
machine. Wall time is from the start of the process; CPU time is the function's own, user and system. ``begin``: until the
first invocation is asked for (Lambda's init phase). ``first``: until its answer is there, a miss with one call of Titan
and one of Converse. ``hit``: the same in a process that finds the answer stored. Medians, and the best of all rounds,
which other programs on the machine have disturbed least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from engines.valkey import Valkey  # noqa: E402
from functions.running import question, running  # noqa: E402
from yamabiko.testing.bedrock import BedrockStandIn  # noqa: E402

MODEL = "amazon.nova-lite-v1:0"
LIMITS = {"imports_ms": 400, "first_ms": 1500, "rss_mb": 200}
IMPORTS = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import yamabiko.gateway.lambda_handler
print((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3)
"""
VARIABLES = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy would start a thread for each processor, which takes time and is of no use to vectors of a question or two."""
TICKS = os.sysconf("SC_CLK_TCK")


def environment(url: str, bedrock: str) -> dict[str, str]:
    return {
        "YAMABIKO_URL": url,
        "YAMABIKO_EMBEDDER__KIND": "titan",
        "YAMABIKO_BEDROCK__REGION": "us-east-1",
        "YAMABIKO_BEDROCK__ENDPOINT_URL": bedrock,
        "YAMABIKO_GATEWAY__UPSTREAMS": f"openai=bedrock:{MODEL}",
        "YAMABIKO_GATEWAY__EMF": "true",
        "YAMABIKO_POLICY__MAX_ERROR_RATE": "none",
        "YAMABIKO_POLICY__MIN_SIMILARITY": "0.9",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a secret that signs",
        **VARIABLES,
    }


def used(pid: int) -> tuple[float, float]:
    """CPU time so far (ms) and the largest resident set (MB) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    return 1e3 * (int(fields[11]) + int(fields[12])) / TICKS, peak / 1024


def one(python: str, environ: dict[str, str], text: str) -> dict[str, float]:
    """One process: until it begins, and until its first answer."""
    started = time.perf_counter()
    with running("awslambdaric", python=python, **environ) as function:
        assert function.api.asked.wait(60), function.lines
        begin = (time.perf_counter() - started) * 1e3
        begin_cpu, _ = used(function.process.pid)
        answer = function.invoke(question(text))
        first = (answer.came - started) * 1e3
        first_cpu, rss = used(function.process.pid)
        assert answer.document["statusCode"] == 200, answer.body
    return {
        "begin_ms": begin,
        "begin_cpu_ms": begin_cpu,
        "first_ms": first,
        "first_cpu_ms": first_cpu,
        "rss_mb": rss,
        "hit": float("x-yamabiko-tier" in answer.document["headers"]),
    }


def warm(python: str, environ: dict[str, str], invocations: int) -> dict[str, float]:
    """Milliseconds of an invocation by tier, and the largest resident set after all of them."""
    took: dict[str, list[float]] = {"miss": [], "semantic": [], "exact": []}
    with running("awslambdaric", python=python, **environ) as function:
        function.invoke(question("Is anybody there?"))
        for number in range(invocations):
            text = f"What is the {number * 7919}th thing that one should know of mountains?"
            for tier, asked in (("miss", text), ("semantic", text.lower()[:-1]), ("exact", text)):
                started = time.perf_counter()
                answer = function.invoke(question(asked))
                found = answer.document["headers"].get("x-yamabiko-tier", "miss")
                if found == tier:
                    took[tier].append((answer.came - started) * 1e3)
        _, rss = used(function.process.pid)
    return {f"{tier}_ms": statistics.median(values) for tier, values in took.items() if values} | {"rss_mb": rss}


def imports(python: str, rounds: int, *options: str) -> dict[str, float]:
    found = []
    for _ in range(rounds + 1):
        ran = subprocess.run(
            [python, *options, "-c", IMPORTS],
            check=True,
            capture_output=True,
            encoding="utf-8",
            env=os.environ | VARIABLES,
        )
        found.append([float(word) for word in ran.stdout.split()])
    return summary([{"imports_ms": wall, "imports_cpu_ms": cpu} for wall, cpu in found[1:]])


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    told = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        told[name] = round(statistics.median(values), 1)
        told[f"{name}_best"] = round(min(values), 1)
    return told


def compiled(python: str) -> None:
    """Compile all that the interpreter may import, whatever the variables of this shell say."""
    code = "import sysconfig, yamabiko, pathlib; print(sysconfig.get_paths()['purelib'], pathlib.Path(yamabiko.__file__).parent)"
    folders = subprocess.run([python, "-c", code], check=True, capture_output=True, encoding="utf-8").stdout.split()
    subprocess.run([python, "-m", "compileall", "-q", *folders], check=False, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment to measure")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--invocations", type=int, default=50, help="warm ones of each tier")
    arguments = parser.parse_args()
    compiled(arguments.python)
    told = {"imports": imports(arguments.python, arguments.rounds)}
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder)) as engine, BedrockStandIn() as bedrock:
        uncompiled = ("-B", "-X", f"pycache_prefix={folder}/nothing")
        told["imports_uncompiled"] = imports(arguments.python, min(3, arguments.rounds), *uncompiled)
        url = f"valkey://127.0.0.1:{engine.port}?name="
        misses, hits = [], []
        for number in range(arguments.rounds):
            environ = environment(f"{url}cold{number}", bedrock.url)
            misses.append(one(arguments.python, environ, "What is a mountain echo?"))
            hits.append(one(arguments.python, environ, "What is a mountain echo?"))
        assert not any(one["hit"] for one in misses)
        assert all(one["hit"] for one in hits)
        told["cold_miss"], told["cold_hit"] = summary(misses), summary(hits)
        told["warm"] = {
            name: round(value, 2)
            for name, value in warm(
                arguments.python, environment(f"{url}warm", bedrock.url), arguments.invocations
            ).items()
        }
    for part, figures in told.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:24} {value:10.1f}")
    print(
        "at most:",
        f"imports {told['imports']['imports_ms_best']} of {LIMITS['imports_ms']} ms,",
        f"first answer {told['cold_miss']['first_ms_best']} of {LIMITS['first_ms']} ms,",
        f"memory {told['warm']['rss_mb']} of {LIMITS['rss_mb']} MB",
    )
    load = [round(value, 1) for value in os.getloadavg()]
    first_in_first_out = os.sched_getscheduler(0) == os.SCHED_FIFO
    about = {"rounds": arguments.rounds, "load_average": load, "before_other_programs": first_in_first_out}
    print("written to", machine.write("lambda_cold", {**about, **told}))


if __name__ == "__main__":
    main()
