"""What stands in ``deploy/``, so far as it can be checked without a container: nothing names what does not exist."""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import promql_parser
import pytest
import yaml
from click.testing import CliRunner

from yamabiko.build import locate
from yamabiko.cli import main
from yamabiko.gateway.metrics import METRICS
from yamabiko.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "yamabiko.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions():
    """Each instruction of the Dockerfile: its word, and the rest in one line."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def last_stage():
    found = instructions()
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def environment():
    return dict(pair.split("=", 1) for word, rest in last_stage() if word == "ENV" for pair in rest.split())


def series_of(expression):
    """The metrics and labels that a PromQL expression asks for, and its grouping labels."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        for part in ("expr", "lhs", "rhs", "vector_selector"):
            child = getattr(node, part, None)
            if child is not None:
                visit(child)
        for child in getattr(node, "args", None) or ():
            visit(child)

    visit(promql_parser.parse(expression))
    return found


def known_series():
    known = {}
    for metric in METRICS:
        labels = set(metric.labels)
        if metric.kind == "histogram":
            known |= {
                metric.name + "_bucket": labels | {"le"},
                metric.name + "_sum": labels,
                metric.name + "_count": labels,
            }
        else:
            known[metric.name] = labels
    return known


def unknown(expression, recorded=()):
    """What an expression names that nobody has."""
    known = known_series() | {name: set() for name in recorded}
    return [
        (name, sorted(labels))
        for name, labels in series_of(expression)
        if name not in known or not labels <= known[name] | {"job", "instance"}
    ]


class TestDockerfile:
    def test_hadolint_finds_nothing(self):
        # Beside this Python: nobody has activated its environment.
        linter = Path(sys.executable).with_name("hadolint")
        run = subprocess.run([linter, str(DOCKERFILE)], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout) == (0, "")

    def test_the_base_is_pinned_to_a_patch_and_fits_the_project(self):
        arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
        version = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", arguments["PYTHON"])
        assert version is not None
        assert f">={version[1]}" in PROJECT["project"]["requires-python"]
        assert [rest.split()[0] for word, rest in instructions() if word == "FROM"] == ["${PYTHON}"] * 2

    def test_it_runs_as_nobody_in_particular_and_builds_nothing_in_its_last_stage(self):
        stage = last_stage()
        user = next(rest for word, rest in stage if word == "USER")
        assert int(user.split(":")[0]) >= 10000
        assert [word for word, _ in stage].index("USER") < [word for word, _ in stage].index("ENTRYPOINT")
        assert not [rest for word, rest in stage if word in ("RUN", "ADD")]

    def test_nothing_at_run_time_needs_a_shell(self):
        commands = [
            rest.partition("CMD ")[2] if word == "HEALTHCHECK" else rest
            for word, rest in last_stage()
            if word in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
        ]
        assert len(commands) == 3
        for command in commands:
            assert isinstance(json.loads(command), list), command

    def test_the_health_check_asks_the_endpoint_that_is_there_at_the_port_that_is_set(self):
        check = next(rest for word, rest in last_stage() if word == "HEALTHCHECK")
        port = environment()["YAMABIKO_GATEWAY__PORT"]
        assert f"http://127.0.0.1:{port}/healthz" in check
        assert next(rest for word, rest in last_stage() if word == "EXPOSE") == port
        code = json.loads(check.partition("CMD ")[2])[-1]
        compile(code, "healthcheck", "exec")

    def test_its_environment_is_made_of_settings_that_exist(self):
        ours = {name: value for name, value in environment().items() if name.startswith("YAMABIKO_")}
        settings = Settings.load(environ=ours)
        assert settings.gateway.host == "0.0.0.0"
        assert settings.gateway.access_log is True
        folder = next(rest for word, rest in last_stage() if word == "VOLUME")
        assert settings.url == f"sqlite:///{folder}/cache.db"

    def test_nothing_reports_to_anybody(self):
        assert environment()["ORT_DISABLE_TELEMETRY"] == "1"
        assert not [name for name in environment() if name.startswith("OTEL_")]

    def test_its_command_is_one_that_the_command_line_has(self):
        entrypoint, command = (json.loads(rest) for word, rest in last_stage() if word in ("ENTRYPOINT", "CMD"))
        assert Path(entrypoint[0]).name in PROJECT["project"]["scripts"]
        assert parses(command)

    def test_the_extras_that_it_installs_exist(self):
        (line,) = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
        extras = re.search(r'"\.\[([a-z,]+)\]"', line)[1].split(",")
        assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()
        assert {"gateway", "local", "memorydb", "otel"} <= set(extras)

    def test_all_that_is_copied_is_there_and_not_ignored(self):
        copied = [
            path
            for word, rest in instructions()
            if word == "COPY" and "--from" not in rest
            for path in rest.split()[:-1]
        ]
        for path in copied:
            assert (ROOT / path).exists(), path
            assert not ignored(path), path
        needed = {
            PROJECT["project"]["readme"],
            *PROJECT["project"]["license-files"],
            PROJECT["tool"]["hatch"]["version"]["path"],
        }
        for path in needed:
            assert any(path == one or path.startswith(f"{one}/") for one in copied), path
            assert not ignored(path), path

    @pytest.mark.parametrize(
        "path", [".git", ".venv", "tests", "cache.db", ".env", "src/yamabiko/__pycache__", "benchmarks", "deploy"]
    )
    def test_nothing_else_gets_into_the_context(self, path):
        assert ignored(path)


def parses(command):
    """Whether the command line takes these arguments."""
    name, *arguments = command
    context = main.make_context("yamabiko", [name, *arguments], resilient_parsing=False)
    found = main.get_command(context, name)
    found.make_context(name, list(arguments), parent=context)
    return CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def ignored(path):
    """As Docker reads .dockerignore: the last pattern that fits counts."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        parts = path.split("/")
        fits = [fnmatch("/".join(parts[:length]), pattern) for length in range(1, len(parts) + 1)]
        if pattern.startswith("**/"):
            fits += [fnmatch(part, pattern[3:]) for part in parts]
        elif "/" not in pattern:
            fits = [fnmatch(parts[0], pattern)]
        if any(fits):
            verdict = not keep
    return verdict


class TestCompose:
    @pytest.mark.parametrize("name", COMPOSE["services"])
    def test_every_service_has_no_more_than_it_needs(self, name):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] not in ("", "root", "0", "0:0")
        assert "privileged" not in service
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
        for volume in service["volumes"]:
            assert volume.split(":")[0] in COMPOSE["volumes"]

    def test_the_image_is_built_from_the_file_that_is_there(self):
        build = COMPOSE["services"]["gateway"]["build"]
        context = (DEPLOY / "docker" / build["context"]).resolve()
        assert context == ROOT
        assert context / build["dockerfile"] == DOCKERFILE

    def test_the_gateway_starts_with_options_and_settings_that_exist(self):
        service = COMPOSE["services"]["gateway"]
        assert parses(service["command"])
        given = {name: _defaulted(value) for name, value in service["environment"].items()}
        settings = Settings.load(environ=environment() | given)
        assert set(settings.gateway.upstreams) == {"openai", "anthropic"}
        address = locate(settings).address
        assert address.host in COMPOSE["services"], "the store is the service of that name"

    def test_it_runs_as_the_images_own_user(self):
        assert COMPOSE["services"]["gateway"]["user"] == next(rest for word, rest in last_stage() if word == "USER")

    def test_the_gateway_is_this_machines_and_the_store_the_gateways_alone(self):
        services = COMPOSE["services"]
        assert all(port.startswith("127.0.0.1:") for port in services["gateway"]["ports"])
        assert "ports" not in services["valkey"]
        assert [COMPOSE["networks"][name] for name in services["valkey"]["networks"]] == [{"internal": True}]

    def test_images_from_elsewhere_are_pinned(self):
        for service in COMPOSE["services"].values():
            if "build" not in service:
                assert re.fullmatch(r"[a-z0-9/._-]+:\d+\.\d+[\w.-]*", service["image"])

    def test_it_has_time_to_finish_what_is_under_way(self):
        seconds = int(COMPOSE["services"]["gateway"]["stop_grace_period"].removesuffix("s"))
        assert seconds > Settings().gateway.drain_seconds


def _defaulted(value):
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


class TestDashboard:
    def expressions(self):
        return {
            (panel["title"], target["refId"]): target["expr"]
            for panel in DASHBOARD["panels"]
            for target in panel.get("targets", ())
        }

    def test_every_metric_and_label_that_it_names_exists(self):
        found = self.expressions()
        assert len(found) > 30
        wrong = {}
        for where, expression in found.items():
            asked = expression.replace("$__rate_interval", "5m").replace("$__range", "1h")
            wrong |= {where: names} if (names := unknown(asked)) else {}
        assert wrong == {}

    def test_every_metric_that_there_is_can_be_seen(self):
        shown = " ".join(self.expressions().values())
        assert [metric.name for metric in METRICS if metric.name not in shown] == []

    def test_legends_name_labels_that_their_series_have(self):
        for panel in DASHBOARD["panels"]:
            for target in panel.get("targets", ()):
                for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                    assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), panel["title"]

    def test_panels_have_a_place_of_their_own(self):
        taken = set()
        for panel in DASHBOARD["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        assert len(set(ids)) == len(ids)

    def test_it_is_bound_to_nobodys_data_source(self):
        for panel in DASHBOARD["panels"]:
            for part in (panel, *panel.get("targets", ())):
                assert part.get("datasource", {"uid": "${datasource}"})["uid"] == "${datasource}"


RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
RECORDED = [rule["record"] for rule in RULES if "record" in rule]


class TestAlerts:
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
    def test_every_metric_and_label_that_it_names_exists(self, rule):
        assert series_of(rule["expr"])
        assert unknown(rule["expr"], RECORDED) == []

    def test_each_says_how_urgent_it_is_and_what_to_do(self):
        alerts = [rule for rule in RULES if "alert" in rule]
        assert len({rule["alert"] for rule in alerts}) == len(alerts)
        for rule in alerts:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"].endswith(".")

    def test_commands_that_they_speak_of_exist(self):
        texts = [*(rule["annotations"]["description"] for rule in RULES if "alert" in rule), *(m.doc for m in METRICS)]
        named = set(re.findall(r"yamabiko ([a-z-]+)", " ".join(texts)))
        assert named
        assert named <= main.commands.keys()

    def test_what_must_wake_somebody_is_watched(self):
        watched = " ".join(rule["expr"] for rule in RULES)
        for name in ("plain_proxy", "store_errors_total", "standing_transitions_total", "responses_total", "hit_ratio"):
            assert name in watched

    def test_labels_have_values_that_occur(self):
        states, verdicts = {"exact_only", "shadow", "serving", "tightened"}, {"same", "different", "unsure"}
        for rule in RULES:
            for names, values in (("state", states), ("verdict", verdicts)):
                for found in re.findall(rf'{names}=~?"([^"]+)"', rule["expr"]):
                    assert set(found.split("|")) <= values


def test_a_name_that_does_not_exist_would_be_found():
    assert unknown("rate(yamabiko_reqests_total[5m])") == [("yamabiko_reqests_total", [])]
    assert unknown('sum(yamabiko_requests_total{tenant="x"})') == [("yamabiko_requests_total", ["tenant"])]
    assert unknown("histogram_quantile(0.9, rate(yamabiko_request_seconds_bucket[5m]))") == []
