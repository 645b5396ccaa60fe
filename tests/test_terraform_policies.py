"""What must hold of every deployment, judged on recorded plans; each policy is shown to fail as well.

`make terraform-plans` records them anew, where terraform and its provider are (``terraforming.py``).
"""

import ast
import copy
import inspect
import json
import re
from functools import cache

import hcl2
import pytest

import terraform_policies as policies
from terraforming import EXAMPLES, PARTS, PLANS, RECORDED, STACK, reduced, sources
from yamabiko.cli import main
from yamabiko.gateway import accesslog


@cache
def recorded(name):
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def test_every_size_is_recorded():
    assert {"small", "medium", "large", "development", "development-ecs", "streaming"} == set(EXAMPLES)
    assert {path.stem for path in RECORDED.glob("*.json")} == set(PLANS)


@pytest.mark.parametrize("name", PLANS)
def test_the_recorded_plan_is_of_these_files(name):
    assert recorded(name)["sources"] == sources(name), "the files have changed: make terraform-plans"


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("policy", policies.POLICIES, ids=lambda policy: policy.__name__)
def test_nothing_offends(policy, name):
    assert list(policy(recorded(name))) == []


def values(address):
    """A change to what a resource is."""
    return lambda plan: plan["resources"][address]["values"]


CLUSTER = "module.cache.aws_memorydb_cluster.this"
USER = "module.cache.aws_memorydb_user.gateway"
ACL = "module.cache.aws_memorydb_acl.this"
SEARCH = "module.cache.aws_memorydb_parameter_group.search"
TO_CACHE = "module.network.aws_vpc_security_group_ingress_rule.cache_from_gateway"
ALARM = 'module.observability.aws_cloudwatch_metric_alarm.single["{}"]'
HIT_RATE = "module.observability.aws_cloudwatch_metric_alarm.hit_rate"
DROP = "module.observability.aws_cloudwatch_metric_alarm.hit_rate_drop"
ACCESS = "module.access.aws_iam_policy.gateway"
TASK = "module.ecs.aws_ecs_task_definition.gateway"
FUNCTION = "module.function.aws_lambda_function.gateway"
BALANCER = "module.gateway_ecs[0].aws_lb.this"
WAF = "module.gateway_ecs[0].aws_wafv2_web_acl_association.this[0]"
ROUTE = "module.gateway_lambda[0].aws_apigatewayv2_route.http[0]"


def put(address, **changed):
    def change(plan):
        plan["resources"][address]["values"].update(changed)

    return change


def come_from(address, argument, *origins):
    def change(plan):
        plan["resources"][address]["from"][argument] = list(origins)

    return change


def without(address, argument=None):
    def change(plan):
        if argument is None:
            del plan["resources"][address]
        else:
            plan["resources"][address]["values"].pop(argument, None)
            plan["resources"][address]["from"].pop(argument, None)

    return change


def added(address, type_, **told):
    def change(plan):
        plan["resources"][address] = {"type": type_, "values": told, "unknown": [], "from": {}}

    return change


def rewritten(address, argument, pattern, replacement):
    """Text within a document of JSON, or any other text."""

    def change(plan):
        resource = plan["resources"][address]["values"]
        text, times = re.subn(pattern, replacement, resource[argument])
        assert times, "nothing was changed"
        resource[argument] = text

    return change


def statement(**told):
    """One more statement in the gateway's policy."""

    def change(plan):
        policy = json.loads(plan["resources"][ACCESS]["values"]["policy"])
        policy["Statement"].append({"Sid": "More", "Effect": "Allow", **told})
        plan["resources"][ACCESS]["values"]["policy"] = json.dumps(policy)

    return change


def told(**variables):
    """Further variables of the function."""

    def change(plan):
        plan["resources"][FUNCTION]["values"]["environment"][0]["variables"].update(variables)

    return change


MUTATIONS = [
    (policies.memorydb_can_search, "small", put(CLUSTER, num_shards=2)),
    (policies.memorydb_can_search, "small", put(CLUSTER, node_type="db.r6gd.xlarge")),
    (policies.memorydb_can_search, "small", put(CLUSTER, engine="redis")),
    (policies.memorydb_can_search, "small", come_from(CLUSTER, "parameter_group_name")),
    (policies.memorydb_can_search, "small", put(SEARCH, parameter=[{"name": "search-enabled", "value": "no"}])),
    (policies.memorydb_can_search, "small", put(SEARCH, parameter=[{"name": "search-enabled", "value": "yes"}])),
    (policies.memorydb_asks_who_it_is, "small", put(CLUSTER, tls_enabled=False)),
    (policies.memorydb_asks_who_it_is, "small", put(CLUSTER, acl_name="open-access")),
    (policies.memorydb_asks_who_it_is, "small", put(CLUSTER, snapshot_retention_limit=0)),
    (policies.memorydb_asks_who_it_is, "small", put(ACL, user_names=["default", "yamabiko-gateway"])),
    (policies.memorydb_asks_who_it_is, "small", put(USER, authentication_mode=[{"type": "password"}])),
    (policies.memorydb_asks_who_it_is, "small", put(USER, access_string="on ~* +@all")),
    (policies.memorydb_asks_who_it_is, "small", rewritten(USER, "access_string", r" \+evalsha", "")),
    (policies.groups_name_each_other, "small", put(TO_CACHE, to_port=6380)),
    (policies.groups_name_each_other, "small", put(TO_CACHE, ip_protocol="-1")),
    (policies.groups_name_each_other, "small", put(TO_CACHE, cidr_ipv4="10.0.0.0/8")),
    (policies.groups_name_each_other, "small", come_from(TO_CACHE, "referenced_security_group_id", policies.ENDPOINTS)),
    (policies.groups_name_each_other, "small", come_from(CLUSTER, "security_group_ids", policies.GATEWAY)),
    (policies.groups_name_each_other, "small", without(TO_CACHE)),
    (policies.groups_have_no_rules_of_their_own, "small", put(policies.CACHE, ingress=[{"from_port": 0}])),
    (
        policies.groups_have_no_rules_of_their_own,
        "small",
        added("aws_security_group_rule.x", "aws_security_group_rule"),
    ),
    (policies.rights_name_their_resources, "small", statement(Action="bedrock:*", Resource="arn:aws:bedrock:a:1:x/y")),
    (policies.rights_name_their_resources, "small", statement(Action="bedrock:InvokeModel", Resource="*")),
    (
        policies.rights_name_their_resources,
        "small",
        statement(Action="bedrock:InvokeModel", Resource="arn:aws:bedrock:*::foundation-model/*"),
    ),
    (policies.rights_name_their_resources, "small", statement(NotAction="iam:*", Action=[], Resource=[])),
    (
        policies.rights_name_their_resources,
        "small",
        put(
            "module.gateway_lambda[0].aws_iam_role_policy_attachment.gateway",
            policy_arn="arn:aws:iam::aws:policy/AdministratorAccess",
        ),
    ),
    (policies.policies_are_known, "small", lambda plan: plan["resources"][ACCESS]["unknown"].append("policy")),
    (policies.bedrock_is_asked_by_model, "small", rewritten(ACCESS, "policy", "ap-northeast-3", "ap-northeast-1")),
    (policies.bedrock_is_asked_by_model, "small", rewritten(ACCESS, "policy", "WithResponseStream", "")),
    (policies.bedrock_is_asked_by_model, "small", rewritten(ACCESS, "policy", "bedrock:InferenceProfileArn", "x")),
    (
        policies.connecting_is_to_one_cluster_as_one_user,
        "small",
        rewritten(ACCESS, "policy", r',\\?"arn:aws:memorydb:[^"]*:user/[^"\\]*\\?"', ""),
    ),
    (policies.everything_at_rest_is_encrypted, "small", without(CLUSTER, "kms_key_arn")),
    (policies.everything_at_rest_is_encrypted, "small", without("aws_sns_topic.alerts", "kms_master_key_id")),
    (
        policies.everything_at_rest_is_encrypted,
        "large",
        without('aws_secretsmanager_secret.settings["YAMABIKO_SIGNING_KEYS"]', "kms_key_id"),
    ),
    (
        policies.everything_at_rest_is_encrypted,
        "large",
        without("module.gateway_ecs[0].aws_ecs_cluster.this", "configuration"),
    ),
    (policies.everything_at_rest_is_encrypted, "small", put(policies.KEY, enable_key_rotation=False)),
    (
        policies.secrets_are_nowhere_else,
        "small",
        added("aws_secretsmanager_secret_version.x", "aws_secretsmanager_secret_version"),
    ),
    (policies.secrets_are_nowhere_else, "parts", told(YAMABIKO_SIGNING_KEYS="one:AAAA")),
    (policies.secrets_are_nowhere_else, "parts", told(YAMABIKO_URL="memorydb://user:word@host")),
    (
        policies.secrets_are_nowhere_else,
        "parts",
        rewritten(TASK, "container_definitions", "YAMABIKO_DEPLOYMENT", "YAMABIKO_SIGNING_KEYS"),
    ),
    (policies.settings_exist, "parts", told(YAMABIKO_GATEWAY__EFM="true")),
    (policies.settings_exist, "parts", told(YAMABIKO_GATEWAY__EMF="false")),
    (policies.settings_exist, "parts", told(YAMABIKO_EMBEDDER__DIM="many")),
    (policies.settings_exist, "parts", told(YAMABIKO_URL="memorydb://host")),
    (policies.settings_exist, "parts", told(YAMABIKO_GATEWAY__UPSTREAMS="")),
    (
        policies.containers_are_confined,
        "parts",
        rewritten(TASK, "container_definitions", '"user":"10001:10001"', '"user":"root"'),
    ),
    (
        policies.containers_are_confined,
        "parts",
        rewritten(TASK, "container_definitions", '"readonlyRootFilesystem":true', '"readonlyRootFilesystem":false'),
    ),
    (
        policies.containers_are_confined,
        "parts",
        rewritten(TASK, "container_definitions", '"drop":\\["ALL"\\]', '"drop":[]'),
    ),
    (
        policies.containers_are_confined,
        "parts",
        rewritten(TASK, "container_definitions", r"yamabiko:0\.1\.0", "yamabiko:latest"),
    ),
    (policies.nothing_leaves_for_the_internet, "small", added("aws_nat_gateway.x", "aws_nat_gateway")),
    (policies.nothing_leaves_for_the_internet, "small", added("aws_internet_gateway.x", "aws_internet_gateway")),
    (
        policies.nothing_leaves_for_the_internet,
        "large",
        lambda plan: plan["resources"]["module.gateway_ecs[0].aws_ecs_service.blue_green[0]"]["values"][
            "network_configuration"
        ][0].update(assign_public_ip=True),
    ),
    (policies.the_edge_is_guarded, "large", without(WAF)),
    (policies.the_edge_is_guarded, "large", put(BALANCER, drop_invalid_header_fields=False)),
    (policies.the_edge_is_guarded, "large", put("module.gateway_ecs[0].aws_lb_listener.https", protocol="HTTP")),
    (
        policies.the_edge_is_guarded,
        "large",
        put("module.gateway_ecs[0].aws_lb_listener.https", ssl_policy="ELBSecurityPolicy-2016-08"),
    ),
    (policies.the_edge_is_guarded, "small", without(ROUTE, "authorization_type")),
    (policies.the_edge_is_guarded, "small", without("aws_secretsmanager_secret.tenants[0]")),
    (policies.the_edge_is_guarded, "streaming", without("aws_secretsmanager_secret.tenants[0]")),
    (policies.the_edge_is_guarded, "small", added("aws_lambda_function_url.x", "aws_lambda_function_url")),
    (
        policies.functions_stand_in_the_network,
        "small",
        without("module.gateway_lambda[0].aws_lambda_function.gateway", "vpc_config"),
    ),
    (
        policies.functions_stand_in_the_network,
        "small",
        put("module.gateway_lambda[0].aws_lambda_function.gateway", timeout=60),
    ),
    (
        policies.functions_stand_in_the_network,
        "small",
        put("module.gateway_lambda[0].aws_lambda_function.gateway", reserved_concurrent_executions=-1),
    ),
    (policies.alarms_can_ring, "small", put(ALARM.format("memory"), metric_name="MemoryUsage")),
    (policies.alarms_can_ring, "small", without(ALARM.format("memory"), "dimensions")),
    (policies.alarms_can_ring, "small", put(ALARM.format("latency"), dimensions={"Deployment": "a", "Tier": "miss"})),
    (policies.alarms_can_ring, "small", put(ALARM.format("latency"), dimensions={"Function": "a"})),
    (policies.alarms_can_ring, "small", come_from(ALARM.format("memory"), "alarm_actions")),
    (policies.alarms_can_ring, "small", without(ALARM.format("memory"), "treat_missing_data")),
    (
        policies.alarms_can_ring,
        "small",
        lambda plan: values(HIT_RATE)(plan)["metric_query"][0]["metric"][0].update(
            dimensions={"Deployment": "a", "Tier": "odd"}
        ),
    ),
    (policies.everything_is_watched, "small", without(HIT_RATE)),
    (policies.everything_is_watched, "medium", without(ALARM.format("replication"))),
    (policies.everything_is_watched, "small", put(ALARM.format("memory"), threshold=99)),
    (policies.everything_is_watched, "small", put(ALARM.format("processor"), metric_name="EngineCPUUtilization")),
    (policies.everything_is_watched, "large", put(ALARM.format("processor"), threshold=45)),
    (policies.everything_is_watched, "small", put(DROP, comparison_operator="GreaterThanUpperThreshold")),
    (policies.costs_are_watched, "small", without("module.costs.aws_budgets_budget.monthly")),
    (policies.costs_are_watched, "small", put("module.costs.aws_budgets_budget.monthly", notification=[])),
    (policies.costs_are_watched, "small", without("module.costs.aws_ce_anomaly_subscription.this")),
    (policies.costs_are_watched, "small", put("module.costs.aws_ce_anomaly_subscription.this", frequency="DAILY")),
    (policies.logs_are_let_go, "small", without("module.network.aws_cloudwatch_log_group.flows", "retention_in_days")),
]


@pytest.mark.parametrize(
    ("policy", "name", "change"),
    MUTATIONS,
    ids=[f"{policy.__name__}-{number}" for number, (policy, *_) in enumerate(MUTATIONS)],
)
def test_a_change_for_the_worse_offends(policy, name, change):
    plan = copy.deepcopy(recorded(name))
    change(plan)
    assert list(policy(plan)) != []


def test_every_policy_is_shown_to_fail():
    assert {policy for policy, *_ in MUTATIONS} == set(policies.POLICIES)


class TestSizes:
    def test_they_are_what_the_sizing_says(self):
        found = {}
        for name in ("small", "medium", "large"):
            cluster = recorded(name)["resources"][CLUSTER]["values"]
            found[name] = (cluster["node_type"], cluster["num_replicas_per_shard"])
        assert found == {"small": ("db.t4g.small", 0), "medium": ("db.r7g.large", 1), "large": ("db.r7g.xlarge", 2)}

    def test_development_is_one_zone_and_leaves_nothing_behind(self):
        plan = recorded("development")
        cluster = plan["resources"][CLUSTER]["values"]
        assert cluster["snapshot_retention_limit"] == 1
        assert "final_snapshot_name" not in cluster
        assert len(list(policies.of_type(plan, "aws_subnet"))) == 1

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_what_the_gateway_calls_it_can_reach(self, name):
        plan = recorded(name)
        services = {
            one["values"]["service_name"].rpartition("northeast-1.")[2]
            for _, one in policies.of_type(plan, "aws_vpc_endpoint")
        }
        ecs = any(True for _ in policies.of_type(plan, "aws_ecs_service"))
        secrets = any(True for _ in policies.of_type(plan, "aws_secretsmanager_secret"))
        wanted = {"bedrock-runtime", "logs", "monitoring", "sts"}
        wanted |= {"ecr.api", "ecr.dkr", "s3"} if ecs else set()
        wanted |= {"secretsmanager"} if secrets else set()
        assert wanted <= services
        assert services <= wanted | {"s3", "bedrock-agent-runtime"}

    def test_large_scales_and_deploys_blue_and_green(self):
        plan = recorded("large")
        (target,) = (one["values"] for _, one in policies.of_type(plan, "aws_appautoscaling_target"))
        assert (target["min_capacity"], target["max_capacity"]) == (2, 20)
        (group,) = (one["values"] for _, one in policies.of_type(plan, "aws_codedeploy_deployment_group"))
        assert group["deployment_style"] == [
            {"deployment_option": "WITH_TRAFFIC_CONTROL", "deployment_type": "BLUE_GREEN"}
        ]
        alarms = {one["values"]["alarm_name"] for _, one in policies.of_type(plan, "aws_cloudwatch_metric_alarm")}
        assert set(group["alarm_configuration"][0]["alarms"]) <= alarms

    def test_events_pass_through_the_load_balancer_as_they_come(self):
        (balancer,) = (one["values"] for _, one in policies.of_type(recorded("large"), "aws_lb"))
        assert balancer["idle_timeout"] >= 300

    def test_streaming_asks_lambda_for_streams(self):
        plan = recorded("streaming")
        (api,) = (json.loads(one["values"]["body"]) for _, one in policies.of_type(plan, "aws_api_gateway_rest_api"))
        integration = api["paths"]["/{proxy+}"]["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
        assert integration["responseTransferMode"] == "STREAM"
        assert integration["uri"].endswith(":function:yamabiko-stream:live/response-streaming-invocations")
        (function,) = (
            one["values"] for address, one in policies.of_type(plan, "aws_lambda_function") if "gateway" in address
        )
        assert function["image_config"][0]["entry_point"][-2:] == ["-m", "yamabiko.gateway.lambda_runtime"]
        assert function["image_config"][0]["command"] == ["--stream"]


def logged():
    """The fields of the access log's lines."""
    module = ast.parse(inspect.getsource(accesslog.line_of))
    return {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


class TestParts:
    def test_secrets_reach_a_task_and_a_function(self):
        plan = recorded(PARTS)
        tenants, gateway = sorted(
            (container for _, container in policies.containers(plan) if container["name"] != "warm-up"),
            key=lambda one: one["name"] == "gateway",
        )
        assert [one["name"] for one in gateway["secrets"]] == ["YAMABIKO_SIGNING_KEYS"]
        assert gateway["dependsOn"] == [{"condition": "SUCCESS", "containerName": tenants["name"]}]
        told = plan["resources"][FUNCTION]["values"]["environment"][0]["variables"]
        assert told["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/with_secrets"
        allowed = json.dumps(
            json.loads(plan["resources"]["module.access.aws_iam_policy.secrets[0]"]["values"]["policy"])
        )
        for arn in (*json.loads(told["SECRETS"]).values(), *json.loads(told["SECRET_FILES"]).values()):
            assert arn in allowed

    def test_the_dashboard_shows_metrics_that_exist(self):
        body = json.loads(
            recorded(PARTS)["resources"]["module.observability.aws_cloudwatch_dashboard.this"]["values"][
                "dashboard_body"
            ]
        )
        shown = set()
        for widget in body["widgets"]:
            for line in widget["properties"]["metrics"]:
                namespace, metric, *pairs = [part for part in line if isinstance(part, str)]
                assert frozenset(pairs[::2]) in policies.DOCUMENTED[namespace, metric], line
                shown.add((namespace, metric))
        assert {(policies.NAMESPACE, metric.name) for metric in policies.METRICS} <= shown
        places = {(widget["x"], widget["y"]) for widget in body["widgets"]}
        assert len(places) == len(body["widgets"])

    def test_saved_queries_ask_for_fields_that_the_log_has(self):
        words = {
            "filter",
            "ispresent",
            "and",
            "or",
            "stats",
            "count",
            "as",
            "pct",
            "by",
            "sort",
            "desc",
            "limit",
            "fields",
        }
        words |= {"bin", "sum", "strcontains", "requests", "p50", "p95", "p99", "percent", "timestamp", "m"}
        for address, query in policies.of_type(recorded(PARTS), "aws_cloudwatch_query_definition"):
            asked = (
                set(re.findall(r"[a-z_][a-z0-9_]*", re.sub(r'"[^"]*"', "", query["values"]["query_string"]))) - words
            )
            assert asked, address
            assert asked <= logged(), address

    def test_the_report_gets_what_it_asks_for(self):
        target = recorded(PARTS)["resources"]["module.costs.aws_scheduler_schedule.report[0]"]["values"]["target"][0]
        page = (policies.ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
        known = json.loads(re.search(r"```json\n(\{.*?\})\n```", page, flags=re.DOTALL)[1]).keys()
        assert {"topic_arn", "deployment", "cluster"} <= json.loads(target["input"]).keys() <= known

    def test_the_warm_up_is_a_command_that_exists(self):
        plan = recorded(PARTS)
        (container,) = (one for _, one in policies.containers(plan) if one["name"] == "warm-up")
        assert container["command"][0] == "warm"
        given = container["command"][1:]
        invoked = json.loads(plan["resources"]["module.function.aws_lambda_invocation.warm[0]"]["values"]["input"])
        assert invoked == {"arguments": given}
        parsed = main.commands["warm"].make_context("warm", given).params
        assert (parsed["tenant"], json.loads(parsed["like"])["model"]) == ("acme", "any")
        for name in ("medium", "large"):
            with (STACK / "examples" / f"{name}.tfvars").open(encoding="utf-8") as file:
                more = [text.strip('"') for text in hcl2.load(file)["warm_up"]["arguments"]]
            assert main.commands["warm"].make_context("warm", [*given, *more]).params["max_usd"] == 2


PLAN = {
    "format_version": "1.2",
    "resource_changes": [
        {"address": "module.user[0].aws_sns_topic.here[0]", "change": {"after_unknown": {"arn": True, "tags": {}}}},
    ],
    "planned_values": {
        "root_module": {
            "child_modules": [
                {
                    "resources": [
                        {
                            "address": "module.user[0].aws_sns_topic.here[0]",
                            "type": "aws_sns_topic",
                            "mode": "managed",
                            "values": {"name": "here", "policy": None, "tags_all": {"a": "b"}},
                        }
                    ]
                }
            ]
        }
    },
    "configuration": {
        "root_module": {
            "module_calls": {
                "maker": {"module": {"outputs": {"arn": {"expression": {"references": ["aws_kms_key.this[0].arn"]}}}}},
                "user": {
                    "expressions": {"key": {"references": ["module.maker.arn", "module.maker"]}},
                    "module": {
                        "resources": [
                            {
                                "address": "aws_sns_topic.here",
                                "expressions": {
                                    "kms_master_key_id": {"references": ["var.key"]},
                                    "name": {"references": ["local.name", "each.key"]},
                                },
                            }
                        ]
                    },
                },
            }
        }
    },
}


class TestReading:
    """What the policies stand on: an argument is followed to the resource that it comes from."""

    def test_through_a_variable_a_call_and_an_output(self):
        assert reduced(PLAN)["resources"] == {
            "module.user[0].aws_sns_topic.here[0]": {
                "type": "aws_sns_topic",
                "values": {"name": "here"},
                "unknown": ["arn"],
                "from": {"kms_master_key_id": ["module.maker.aws_kms_key.this"]},
            }
        }
