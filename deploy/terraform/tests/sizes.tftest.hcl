# `terraform test`, without an account: the provider is a mock, and each size is applied to it.

mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = {
      arn    = "arn:aws:kms:ap-northeast-1:111122223333:key/00000000-0000-0000-0000-000000000000"
      key_id = "00000000-0000-0000-0000-000000000000"
    }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:ap-northeast-1:111122223333:alerts" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::111122223333:policy/mock" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:ap-northeast-1:111122223333:log-group:mock" }
  }
  mock_resource "aws_lambda_function" {
    defaults = {
      arn     = "arn:aws:lambda:ap-northeast-1:111122223333:function:mock"
      version = "1"
    }
  }
  mock_resource "aws_lambda_alias" {
    defaults = {
      arn        = "arn:aws:lambda:ap-northeast-1:111122223333:function:mock:live"
      invoke_arn = "arn:aws:apigateway:ap-northeast-1:lambda:path/2015-03-31/functions/mock/invocations"
    }
  }
  mock_resource "aws_apigatewayv2_api" {
    defaults = {
      execution_arn = "arn:aws:execute-api:ap-northeast-1:111122223333:mock"
      api_endpoint  = "https://mock.execute-api.ap-northeast-1.amazonaws.com"
    }
  }
  mock_resource "aws_api_gateway_rest_api" {
    defaults = { execution_arn = "arn:aws:execute-api:ap-northeast-1:111122223333:mock" }
  }
  mock_resource "aws_api_gateway_stage" {
    defaults = {
      arn        = "arn:aws:apigateway:ap-northeast-1::/restapis/mock/stages/live"
      invoke_url = "https://mock.execute-api.ap-northeast-1.amazonaws.com/live"
    }
  }
  mock_resource "aws_ce_anomaly_monitor" {
    defaults = { arn = "arn:aws:ce::111122223333:anomalymonitor/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:mock-abcdef" }
  }
  mock_resource "aws_wafv2_web_acl" {
    defaults = { arn = "arn:aws:wafv2:ap-northeast-1:111122223333:regional/webacl/mock/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_lb" {
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:loadbalancer/app/mock/50dc6c495c0c9188"
      arn_suffix = "app/mock/50dc6c495c0c9188"
      dns_name   = "mock.ap-northeast-1.elb.amazonaws.com"
    }
  }
  mock_resource "aws_lb_target_group" {
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:targetgroup/mock/943f017f100becff"
      arn_suffix = "targetgroup/mock/943f017f100becff"
    }
  }
  mock_resource "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:listener/app/mock/50dc6c495c0c9188/f2f7dc8efc522ab2" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = {
      id  = "arn:aws:ecs:ap-northeast-1:111122223333:cluster/mock"
      arn = "arn:aws:ecs:ap-northeast-1:111122223333:cluster/mock"
    }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:ap-northeast-1:111122223333:task-definition/mock:1" }
  }
  mock_resource "aws_memorydb_cluster" {
    defaults = {
      cluster_endpoint = [{ address = "clustercfg.mock.abc123.memorydb.ap-northeast-1.amazonaws.com", port = 6379 }]
    }
  }
}

variables {
  region     = "ap-northeast-1"
  account_id = "111122223333"
  zones      = ["ap-northeast-1a", "ap-northeast-1c"]
  node_type  = "db.t4g.small"
  replicas   = 0
  models = {
    openai = {
      id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
      profile = "jp"
      regions = ["ap-northeast-1", "ap-northeast-3"]
    }
  }
  gateway     = "lambda"
  package     = { zip = "build/yamabiko-arm64.zip" }
  report_zip  = "build/yamabiko-arm64.zip"
  monthly_usd = 100
}

run "function" {
  variables {
    secrets = ["YAMABIKO_SIGNING_KEYS"]
    warm_up = { questions = "questions/top.txt", like = "{\"model\": \"any\"}", tenant = "acme" }
  }

  assert {
    condition = startswith(output.cache_url, join("", [
      "memorydb://yamabiko-gateway@clustercfg.mock.abc123.memorydb.ap-northeast-1.amazonaws.com:6379",
      "?auth=iam&region=ap-northeast-1&cluster_name=yamabiko&name=yamabiko",
    ]))
    error_message = "The gateway is told the cluster, its user and the cache's name."
  }
  assert {
    condition     = length(output.secrets) == 2 && output.deployment == null
    error_message = "Two secrets wait for their values, and nothing is deployed by CodeDeploy."
  }
}

run "tasks" {
  variables {
    gateway         = "ecs"
    package         = { image = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/yamabiko:0.1.0" }
    node_type       = "db.r7g.xlarge"
    replicas        = 2
    deployment      = "blue-green"
    public          = true
    callers         = ["0.0.0.0/0"]
    waf             = true
    certificate_arn = "arn:aws:acm:ap-northeast-1:111122223333:certificate/00000000-0000-0000-0000-000000000000"
    warm_up         = { questions = "questions/top.txt", like = "{\"model\": \"any\"}", tenant = "acme" }
  }

  assert {
    condition     = output.url == "https://mock.ap-northeast-1.elb.amazonaws.com"
    error_message = "The gateway answers behind TLS."
  }
  assert {
    condition = jsondecode(jsondecode(output.deployment).revision.appSpecContent.content).Resources[0].TargetService.Properties == {
      TaskDefinition   = "arn:aws:ecs:ap-northeast-1:111122223333:task-definition/mock:1"
      LoadBalancerInfo = { ContainerName = "gateway", ContainerPort = 8080 }
    }
    error_message = "A blue/green deployment names the new task definition."
  }
}

run "stream" {
  command = plan
  variables {
    api             = "rest"
    package         = { image = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/yamabiko:0.1.0" }
    authorization   = "NONE"
    waf             = true
    timeout_seconds = 300
  }

  assert {
    condition     = module.gateway_lambda[0].function_name == "yamabiko"
    error_message = "A function that streams."
  }
}

# What is refused, with words that say what to do: nodes without search, dimensions that Titan does not have, a gateway
# that anybody may call, a firewall where AWS has none, and a key among the settings.
run "refusals" {
  command = plan
  variables {
    node_type = "db.r6gd.xlarge"
    embedding = { dimensions = 1536 }
    tenants   = false
    waf       = true
    settings  = { YAMABIKO_SIGNING_KEYS = "one:AAAA" }
  }
  expect_failures = [var.node_type, var.embedding, var.tenants, var.waf, var.settings]
}
