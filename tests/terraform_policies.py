"""What must hold of every plan. A policy takes a plan, as ``terraforming`` records it, and gives what offends against it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from yamabiko.aws.metrics import METRICS, NAMESPACE, TIERS
from yamabiko.build import locate
from yamabiko.errors import ConfigurationError
from yamabiko.gateway.proxy import Upstream
from yamabiko.settings import Settings
from yamabiko.settings.tree import known_settings

ROOT = Path(__file__).resolve().parent.parent
GATEWAY, CACHE, EDGE, ENDPOINTS = (
    f"module.network.aws_security_group.{name}" for name in ("gateway", "cache", "edge", "endpoints")
)
KEY = "module.key.aws_kms_key.this"
TOPIC = "aws_sns_topic.alerts"

# Actions whose resource can only be "*", with the reason. Source: AWS service authorization reference, the actions
# without a resource type; Lambda developer guide, "Giving Lambda functions access to resources in a VPC".
EVERYWHERE: Mapping[str, str] = {
    "ce:GetCostAndUsage": "Cost Explorer knows no resources",
    "cloudwatch:GetMetricData": "metrics are no resources",
    "ecr:GetAuthorizationToken": "the token is for the registry",
    "ec2:CreateNetworkInterface": "Lambda checks it without naming an interface",
    "ec2:DescribeNetworkInterfaces": "no resource type",
    "ec2:DescribeSubnets": "no resource type",
    "ec2:DeleteNetworkInterface": "Lambda checks it without naming an interface",
    "ec2:AssignPrivateIpAddresses": "Lambda checks it without naming an interface",
    "ec2:UnassignPrivateIpAddresses": "Lambda checks it without naming an interface",
}

# AWS's own metrics, with the dimensions by which they can be asked for. Sources, read 2026-11-24: MemoryDB developer
# guide, "Metrics for MemoryDB"; Lambda developer guide, "Types of metrics"; Elastic Load Balancing user guide,
# "CloudWatch metrics for your Application Load Balancer".
MEMORYDB = (
    *("CPUUtilization", "EngineCPUUtilization", "DatabaseMemoryUsagePercentage", "Evictions", "ReplicationLag"),
    *("AuthenticationFailures", "SearchNumberOfIndexedKeys", "CurrConnections"),
)
LAMBDA = ("Invocations", "Errors", "Throttles")
BALANCED = ("HTTPCode_Target_5XX_Count", "RequestCount")
DOCUMENTED: Mapping[tuple[str, str], tuple[frozenset[str], ...]] = {
    **{("AWS/MemoryDB", name): (frozenset({"ClusterName"}),) for name in MEMORYDB},
    **{("AWS/Lambda", name): (frozenset({"FunctionName"}),) for name in LAMBDA},
    **{("AWS/ApplicationELB", name): (frozenset({"LoadBalancer"}),) for name in BALANCED},
    ("AWS/ApplicationELB", "UnHealthyHostCount"): (frozenset({"TargetGroup", "LoadBalancer"}),),
    **{(NAMESPACE, metric.name): tuple(map(frozenset, metric.dimensions)) for metric in METRICS},
}

ENCRYPTED: Mapping[str, str] = {  # what lies on a disk, and the argument that names its key
    "aws_cloudwatch_log_group": "kms_key_id",
    "aws_lambda_function": "kms_key_arn",
    "aws_memorydb_cluster": "kms_key_arn",
    "aws_scheduler_schedule": "kms_key_arn",
    "aws_secretsmanager_secret": "kms_key_id",
    "aws_sns_topic": "kms_master_key_id",
}


def of_type(plan: dict, *types: str) -> Iterator[tuple[str, dict]]:
    for address, resource in plan["resources"].items():
        if resource["type"] in types:
            yield address, resource


def memorydb_can_search(plan: dict) -> Iterator[str]:
    """Search is enabled when a cluster is created or never, on one shard, on nodes that have it."""
    groups = dict(of_type(plan, "aws_memorydb_parameter_group"))
    for address, cluster in of_type(plan, "aws_memorydb_cluster"):
        values = cluster["values"]
        named = cluster["from"].get("parameter_group_name", [])
        told = {
            parameter["name"]: parameter["value"]
            for name in named
            for parameter in groups.get(name, {"values": {}})["values"].get("parameter", ())
        }
        if told.get("search-enabled") != "yes":
            yield f"{address}: its parameter group has no search-enabled = yes"
        if told.get("maxmemory-policy") not in ("volatile-lru", "allkeys-lru"):
            yield f"{address}: a full cache must let answers go"
        if values.get("num_shards") != 1:
            yield f"{address}: vector search has one shard"
        if not re.fullmatch(r"db\.(t4g|r6g|r7g)\.\w+", values.get("node_type", "")):
            yield f"{address}: {values.get('node_type')} has no vector search"
        if values.get("engine") != "valkey":
            yield f"{address}: the engine is valkey"


def memorydb_asks_who_it_is(plan: dict) -> Iterator[str]:
    """TLS, an ACL of one user who signs in with IAM and may do what docs/memorydb.md lists, and no more."""
    for address, cluster in of_type(plan, "aws_memorydb_cluster"):
        if cluster["values"].get("tls_enabled") is not True:
            yield f"{address}: no TLS"
        if cluster["values"].get("acl_name") == "open-access" or not cluster["from"].get("acl_name"):
            yield f"{address}: its ACL is not ours"
        if cluster["values"].get("snapshot_retention_limit", 0) < 1:
            yield f"{address}: no snapshots"
    for address, acl in of_type(plan, "aws_memorydb_acl"):
        if len(acl["values"].get("user_names", ())) != 1:
            yield f"{address}: one user, and no other"
    for address, user in of_type(plan, "aws_memorydb_user"):
        if [mode.get("type") for mode in user["values"].get("authentication_mode", ())] != ["iam"]:
            yield f"{address}: it does not sign in with IAM"
        if user["values"].get("access_string") != documented_rights("yamabiko"):
            yield f"{address}: its rights are not those of docs/memorydb.md"


def documented_rights(name: str) -> str:
    """The access string of the documentation, for a cache of that name."""
    page = (ROOT / "docs" / "memorydb.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ *(on ~support:\* .*)$", page, flags=re.MULTILINE)
    return line.replace("support", name)


def groups_name_each_other(plan: dict) -> Iterator[str]:
    """Callers -> edge -> gateway -> cache and endpoints; addresses only at the edge, on 443."""
    allowed = {
        ("ingress", CACHE, GATEWAY, 6379),
        ("egress", GATEWAY, CACHE, 6379),
        ("ingress", ENDPOINTS, GATEWAY, 443),
        ("egress", GATEWAY, ENDPOINTS, 443),
        ("egress", GATEWAY, "module.network.aws_vpc_endpoint.s3", 443),
        ("egress", EDGE, GATEWAY, 8080),
        ("ingress", GATEWAY, EDGE, 8080),
    }
    seen = set()
    for address, rule in of_type(plan, "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"):
        values, way = rule["values"], rule["type"].split("_")[-2]
        (owner,) = rule["from"]["security_group_id"]
        if values.get("ip_protocol") != "tcp" or values.get("from_port") != values.get("to_port"):
            yield f"{address}: one port of TCP"
        others = rule["from"].get("referenced_security_group_id", []) + rule["from"].get("prefix_list_id", [])
        if "cidr_ipv4" in values or "cidr_ipv6" in values:
            if (way, owner, values.get("from_port")) != ("ingress", EDGE, 443):
                yield f"{address}: addresses stand at the edge only"
            continue
        for other in others or ["nobody"]:
            found = (way, owner, other, values.get("from_port"))
            seen.add(found)
            if found not in allowed:
                yield f"{address}: {found} is not on the way of a request"
    if any(True for _ in of_type(plan, "aws_memorydb_cluster")):
        yield from (
            f"missing: {rule}"
            for rule in sorted(allowed)
            if rule[2] in (CACHE, GATEWAY) and EDGE not in rule and rule not in seen
        )
        for address, cluster in of_type(plan, "aws_memorydb_cluster"):
            if cluster["from"].get("security_group_ids") != [CACHE]:
                yield f"{address}: it is not in the cache's group"


def groups_have_no_rules_of_their_own(plan: dict) -> Iterator[str]:
    """Rules are resources of their own; the VPC's default group has none."""
    for address, group in of_type(plan, "aws_security_group", "aws_default_security_group", "aws_security_group_rule"):
        if (
            group["type"] == "aws_security_group_rule"
            or group["values"].get("ingress")
            or group["values"].get("egress")
        ):
            yield f"{address}: rules within a group"


def policies_of(plan: dict) -> Iterator[tuple[str, list[dict]]]:
    """The statements of each policy of an identity that is known."""
    for address, policy in of_type(plan, "aws_iam_policy", "aws_iam_role_policy"):
        if "policy" in policy["values"]:
            yield address, json.loads(policy["values"]["policy"])["Statement"]


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def rights_name_their_resources(plan: dict) -> Iterator[str]:
    """No action with a wildcard; "*" as resource only where AWS takes nothing else."""
    for address, statements in policies_of(plan):
        for statement in statements:
            where = f"{address} {statement.get('Sid')}"
            actions, resources = listed(statement["Action"]), listed(statement["Resource"])
            if statement["Effect"] != "Allow" or "NotAction" in statement or "NotResource" in statement:
                yield f"{where}: it says what is not meant"
            yield from (f"{where}: {action}" for action in actions if "*" in action)
            for resource in resources:
                if resource == "*":
                    yield from (f"{where}: {action} on *" for action in actions if action not in EVERYWHERE)
                elif (
                    "*" in resource.removesuffix(":*")
                    or not resource.startswith("arn:aws:")
                    or (resource.endswith(":*") and not re.search(r":log-group:|:task-definition/", resource))
                ):
                    yield f"{where}: {resource}"
    for address, attached in of_type(plan, "aws_iam_role_policy_attachment"):
        arn = attached["values"].get("policy_arn", "")
        if arn.startswith("arn:aws:iam::aws:") and not arn.endswith("/AWSCodeDeployRoleForECS"):
            yield f"{address}: {arn} gives more than is needed"


def policies_are_known(plan: dict) -> Iterator[str]:
    """What a plan does not know of a policy nobody has judged: those that wait are judged in the parts."""
    for address, policy in of_type(plan, "aws_iam_policy", "aws_iam_role_policy"):
        waits = {"policy": True}.keys() & set(policy["unknown"])
        if waits and not re.fullmatch(
            r"module\.access\.aws_iam_policy\.secrets\[0\]|module\.costs\..*\.(report|schedule)\[0\]|.*\.settings",
            address,
        ):
            yield f"{address}: unknown until it is applied"


def bedrock_is_asked_by_model(plan: dict) -> Iterator[str]:
    """Models by ARN; a profile with the model behind it in each region that it leads to, and only through it."""
    for address, statements in policies_of(plan):
        if not address.startswith("module.access.aws_iam_policy.gateway"):
            continue
        behind = {}
        for statement in statements:
            profile = statement.get("Condition", {}).get("StringLike", {}).get("bedrock:InferenceProfileArn")
            if profile:
                behind[profile] = listed(statement["Resource"])
        for statement in statements:
            for resource in listed(statement["Resource"]):
                if ":inference-profile/" not in resource:
                    continue
                model = resource.rsplit("/", 1)[1].split(".", 1)[1]
                regions = {
                    arn.split(":")[3] for arn in behind.get(resource, ()) if arn.endswith(f"::foundation-model/{model}")
                }
                if resource.split(":")[3] not in regions or len(regions) < 2:
                    yield f"{address}: {resource} leads to regions that are not allowed"
        actions = {action for statement in statements for action in listed(statement["Action"])}
        for wanted in ("memorydb:connect", "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"):
            if wanted not in actions:
                yield f"{address}: {wanted} is missing"


def connecting_is_to_one_cluster_as_one_user(plan: dict) -> Iterator[str]:
    """memorydb:connect names the cluster and the user: with one of them alone it is refused."""
    for address, statements in policies_of(plan):
        for statement in statements:
            if "memorydb:connect" in listed(statement["Action"]):
                kinds = sorted(arn.split(":")[5].split("/")[0] for arn in listed(statement["Resource"]))
                if kinds != ["cluster", "user"]:
                    yield f"{address}: it connects to {kinds}"


def everything_at_rest_is_encrypted(plan: dict) -> Iterator[str]:
    """With the deployment's own key, which is rotated."""
    for address, resource in of_type(plan, *ENCRYPTED):
        argument = ENCRYPTED[resource["type"]]
        if not resource["from"].get(argument) and ":kms:" not in resource["values"].get(argument, ""):
            yield f"{address}: {argument} names no key"
    for address, cluster in of_type(plan, "aws_ecs_cluster"):
        if not cluster["from"].get("configuration") and ":kms:" not in json.dumps(
            cluster["values"].get("configuration", "")
        ):
            yield f"{address}: disks of its tasks have no key of ours"
    for address, key in of_type(plan, "aws_kms_key"):
        if key["values"].get("enable_key_rotation") is not True:
            yield f"{address}: it is not rotated"


def secrets_are_nowhere_else(plan: dict) -> Iterator[str]:
    """No value of a secret is made by Terraform, and no setting that is one stands in an environment."""
    secret = {setting.variable for setting in known_settings().values() if setting.secret} - {"YAMABIKO_URL"}
    yield from (
        f"{address}: its value would lie in the state"
        for address, _ in of_type(plan, "aws_secretsmanager_secret_version")
    )
    for where, names in environments(plan):
        yield from (f"{where}: {name} is a secret" for name in sorted(secret & names.keys()))
        if urlsplit(names.get("YAMABIKO_URL", "")).password:
            yield f"{where}: a password in YAMABIKO_URL"


def environments(plan: dict) -> Iterator[tuple[str, dict[str, str]]]:
    """What functions and containers are told, so far as it is known."""
    for address, function in of_type(plan, "aws_lambda_function"):
        for told in function["values"].get("environment", ()):
            if "variables" in told:
                yield address, told["variables"]
    for address, container in containers(plan):
        yield address, {pair["name"]: pair["value"] for pair in container.get("environment", ())}


def containers(plan: dict) -> Iterator[tuple[str, dict]]:
    for address, task in of_type(plan, "aws_ecs_task_definition"):
        for container in json.loads(task["values"].get("container_definitions", "[]")):
            yield f"{address} {container['name']}", container


def settings_exist(plan: dict) -> Iterator[str]:
    """What begins with YAMABIKO_ is a setting, and the gateway takes them all."""
    for where, told in environments(plan):
        ours = {name: value for name, value in told.items() if name.startswith("YAMABIKO_")}
        if not ours:
            continue
        try:
            settings = Settings.load(environ=ours)
            asked = [Upstream.parse(name, url) for name, url in settings.gateway.upstreams.items()]
            locate(settings)
        except (ConfigurationError, ValueError) as error:
            yield f"{where}: {error}"
            continue
        if not asked or not settings.gateway.emf or not settings.gateway.access_log:
            yield f"{where}: nobody to ask, or nothing to watch it by"
        named = parse_qs(urlsplit(settings.url).query)
        if not settings.url.startswith("memorydb://") or named.get("auth") != ["iam"]:
            yield f"{where}: the store is MemoryDB, with IAM"


def containers_are_confined(plan: dict) -> Iterator[str]:
    """No root, nothing to write to but its folder, no capabilities, an image that is not moved under it."""
    for where, container in containers(plan):
        if container.get("user") in (None, "", "root", "0", "0:0") or container.get("privileged") is not False:
            yield f"{where}: it runs as root"
        if container.get("readonlyRootFilesystem") is not True:
            yield f"{where}: it can write everywhere"
        if container.get("linuxParameters", {}).get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{where}: it has capabilities"
        if container["image"].endswith(":latest") or ":" not in container["image"]:
            yield f"{where}: {container['image']} is another one tomorrow"


def nothing_leaves_for_the_internet(plan: dict) -> Iterator[str]:
    """No NAT; a way to the internet only where a load balancer stands in public."""
    yield from (f"{address}: no NAT is needed" for address, _ in of_type(plan, "aws_nat_gateway", "aws_eip"))
    public = any(balancer["values"].get("internal") is False for _, balancer in of_type(plan, "aws_lb"))
    if not public:
        yield from (f"{address}: nothing is public here" for address, _ in of_type(plan, "aws_internet_gateway"))
    for address, service in of_type(plan, "aws_ecs_service"):
        if service["values"]["network_configuration"][0].get("assign_public_ip") is not False:
            yield f"{address}: its tasks have public addresses"
    for address, subnet in of_type(plan, "aws_subnet"):
        if subnet["values"].get("map_public_ip_on_launch"):
            yield f"{address}: it gives public addresses"


def the_edge_is_guarded(plan: dict) -> Iterator[str]:
    """TLS 1.2 and newer only, AWS WAF before what is public, and somebody who asks for a name."""
    guarded = [one for _, one in of_type(plan, "aws_wafv2_web_acl_association")]
    for address, balancer in of_type(plan, "aws_lb"):
        if balancer["values"].get("internal") is False and not guarded:
            yield f"{address}: no web ACL"
        if balancer["values"].get("drop_invalid_header_fields") is not True:
            yield f"{address}: it passes invalid headers"
    for address, listener in of_type(plan, "aws_lb_listener"):
        values = listener["values"]
        if (
            values.get("protocol") != "HTTPS"
            or "TLS13" not in values.get("ssl_policy", "")
            or not values.get("certificate_arn")
        ):
            yield f"{address}: no TLS, or an old one"
    tenants = any(address.endswith("aws_secretsmanager_secret.tenants[0]") for address in plan["resources"])
    for address, _ in of_type(plan, "aws_apigatewayv2_api", "aws_api_gateway_rest_api"):
        if address.startswith("module.gateway") and not tenants:
            yield f"{address}: no table of keys: a signature is no tenant, and without one anybody may call it"
    for address, route in of_type(plan, "aws_apigatewayv2_route"):
        if route["values"].get("authorization_type") not in ("AWS_IAM", "NONE"):
            yield f"{address}: it does not say who may call it"
    yield from (f"{address}: it can't stream from a VPC" for address, _ in of_type(plan, "aws_lambda_function_url"))


def functions_stand_in_the_network(plan: dict) -> Iterator[str]:
    """All but the report, with a bound on how many run at once, and answers within what their edge waits for."""
    http = any(True for _ in of_type(plan, "aws_apigatewayv2_api"))
    for address, function in of_type(plan, "aws_lambda_function"):
        values = function["values"]
        inside = function["from"].get("vpc_config") or values.get("vpc_config")
        if not inside and not address.endswith("aws_lambda_function.report[0]"):
            yield f"{address}: outside the network"
        if values.get("reserved_concurrent_executions", -1) < 1:
            yield f"{address}: no bound on how many run at once"
        if http and address.endswith("aws_lambda_function.gateway") and values["timeout"] > 30:
            yield f"{address}: an HTTP API waits for 30 seconds"


def alarms_can_ring(plan: dict) -> Iterator[str]:
    """Each asks for a metric that exists, by dimensions that it has, and tells the topic."""
    for address, alarm in of_type(plan, "aws_cloudwatch_metric_alarm"):
        for namespace, metric, dimensions in metrics_of(alarm):
            known = DOCUMENTED.get((namespace, metric))
            if known is None:
                yield f"{address}: there is no metric {namespace} {metric}"
            elif dimensions is not None and frozenset(dimensions) not in known:
                yield f"{address}: {metric} has no dimensions {sorted(dimensions)}"
            elif dimensions and dimensions.get("Tier", "miss") not in TIERS:
                yield f"{address}: there is no tier {dimensions['Tier']}"
        if not (alarm["from"].get("alarm_actions") or alarm["values"].get("alarm_actions")):
            yield f"{address}: nobody hears it"
        if "treat_missing_data" not in alarm["values"]:
            yield f"{address}: it does not say what no data mean"


def metrics_of(alarm: dict) -> Iterator[tuple[str, str, dict[str, str] | None]]:
    """Namespace, name and dimensions; None: dimensions that a plan does not know yet."""
    values = alarm["values"]
    if "metric_name" in values:
        unknown = "dimensions" in alarm["unknown"]
        yield values["namespace"], values["metric_name"], None if unknown else values.get("dimensions", {})
    for query in values.get("metric_query", ()):
        for metric in query.get("metric", ()):
            yield metric["namespace"], metric["metric_name"], metric.get("dimensions", {})


def everything_is_watched(plan: dict) -> Iterator[str]:
    """The alarms that a deployment must have."""
    clusters = [cluster for _, cluster in of_type(plan, "aws_memorydb_cluster")]
    if not clusters:
        return
    found = {
        re.sub(r'.*aws_cloudwatch_metric_alarm\.(?:single\[")?([\w-]+).*', r"\1", address): alarm["values"]
        for address, alarm in of_type(plan, "aws_cloudwatch_metric_alarm")
    }
    wanted = {
        *("memory", "evictions", "processor", "store-errors", "embedder-errors", "upstream-errors", "latency"),
        *("certificate", "wrong-rate", "hit_rate", "hit_rate_drop"),
        *(["replication"] if clusters[0]["values"]["num_replicas_per_shard"] else []),
    }
    yield from (f"no alarm on {name}" for name in sorted(wanted - found.keys()))
    if found.get("memory", {}).get("threshold") != 80 or found.get("hit_rate", {}).get("threshold") != 20:
        yield "memory over 80 %, hit rate under 20 %"
    small = re.fullmatch(r"db\.\w+\.(small|medium|large)", clusters[0]["values"]["node_type"]) is not None
    processor = found.get("processor", {})
    if (processor.get("metric_name"), processor.get("threshold")) != (
        ("CPUUtilization", 45) if small else ("EngineCPUUtilization", 90)
    ):
        yield "the processor is watched by the number of its cores"
    if "LowerThreshold" not in found.get("hit_rate_drop", {}).get("comparison_operator", ""):
        yield "a drop of the hit rate is below the band"


def costs_are_watched(plan: dict) -> Iterator[str]:
    """A budget that tells of the forecast too, and a monitor; both to the topic."""
    if not any(True for _ in of_type(plan, "aws_memorydb_cluster")):
        return
    budgets = [budget for _, budget in of_type(plan, "aws_budgets_budget")]
    kinds = {note["notification_type"] for budget in budgets for note in budget["values"].get("notification", ())}
    if kinds != {"ACTUAL", "FORECASTED"}:
        yield "no budget that tells what was spent and what will be"
    for address, subscription in of_type(plan, "aws_ce_anomaly_subscription"):
        told = {(one.get("type"), subscription["values"]["frequency"]) for one in subscription["values"]["subscriber"]}
        if told != {("SNS", "IMMEDIATE")}:
            yield f"{address}: a topic is told at once, or not at all"
    if not any(True for _ in of_type(plan, "aws_ce_anomaly_subscription")):
        yield "nobody is told of an anomaly"


def logs_are_let_go(plan: dict) -> Iterator[str]:
    """Every log has an end."""
    for address, group in of_type(plan, "aws_cloudwatch_log_group"):
        if not group["values"].get("retention_in_days"):
            yield f"{address}: it is kept for ever"


POLICIES = (
    *(memorydb_can_search, memorydb_asks_who_it_is, groups_name_each_other, groups_have_no_rules_of_their_own),
    *(rights_name_their_resources, policies_are_known, bedrock_is_asked_by_model),
    *(connecting_is_to_one_cluster_as_one_user, everything_at_rest_is_encrypted, secrets_are_nowhere_else),
    *(settings_exist, containers_are_confined, nothing_leaves_for_the_internet, the_edge_is_guarded),
    *(functions_stand_in_the_network, alarms_can_ring, everything_is_watched, costs_are_watched, logs_are_let_go),
)
