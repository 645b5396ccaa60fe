# The edge that streams. Source: API Gateway developer guide, "Stream the integration response for your proxy
# integrations" (response-transfer-mode, read 2026-11-24): REST APIs alone; at most 15 minutes, five of them idle.
# This provider has no argument for the transfer mode: the API is given as its OpenAPI description.

locals {
  integration = {
    type                 = "aws_proxy"
    httpMethod           = "POST"
    responseTransferMode = "STREAM"
    timeoutInMillis      = var.timeout_seconds * 1000
    uri = join("", [
      "arn:aws:apigateway:${var.region}:lambda:path/2021-11-15/functions/",
      "arn:aws:lambda:${var.region}:${var.account_id}:function:${var.name}:live/response-streaming-invocations",
    ])
  }
  method = merge(
    { "x-amazon-apigateway-integration" = local.integration, responses = {} },
    var.authorization == "AWS_IAM" ? { security = [{ sigv4 = [] }] } : {},
  )
  openapi = {
    openapi = "3.0.1"
    info    = { title = var.name, version = "1" }
    paths = {
      "/{proxy+}" = {
        parameters                       = [{ name = "proxy", in = "path", required = true, schema = { type = "string" } }]
        "x-amazon-apigateway-any-method" = local.method
      }
    }
    components = {
      securitySchemes = {
        sigv4 = { type = "apiKey", name = "Authorization", in = "header", "x-amazon-apigateway-authtype" = "awsSigv4" }
      }
    }
  }
}

resource "aws_api_gateway_rest_api" "rest" {
  count       = local.streams ? 1 : 0
  name        = var.name
  description = "Yamabiko ${var.name}"
  body        = jsonencode(local.openapi)

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_deployment" "rest" {
  count       = local.streams ? 1 : 0
  rest_api_id = aws_api_gateway_rest_api.rest[0].id
  triggers    = { description = sha256(jsonencode(local.openapi)) }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "rest" {
  count         = local.streams ? 1 : 0
  rest_api_id   = aws_api_gateway_rest_api.rest[0].id
  deployment_id = aws_api_gateway_deployment.rest[0].id
  stage_name    = "live"

  access_log_settings { # the account must have a role for it, once: README.md
    destination_arn = aws_cloudwatch_log_group.edge.arn
    format          = local.access_log
  }
}

resource "aws_api_gateway_method_settings" "rest" {
  count       = local.streams ? 1 : 0
  rest_api_id = aws_api_gateway_rest_api.rest[0].id
  stage_name  = aws_api_gateway_stage.rest[0].stage_name
  method_path = "*/*"

  settings {
    metrics_enabled        = true
    logging_level          = "ERROR"
    data_trace_enabled     = false # it would log prompts
    throttling_burst_limit = var.burst
    throttling_rate_limit  = var.requests_per_second
  }
}

resource "aws_lambda_permission" "rest" {
  count         = local.streams ? 1 : 0
  statement_id  = "RestApi"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.gateway.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.rest[0].execution_arn}/*"
}

resource "aws_wafv2_web_acl_association" "rest" {
  count        = local.streams && var.waf ? 1 : 0
  resource_arn = aws_api_gateway_stage.rest[0].arn
  web_acl_arn  = var.web_acl_arn
}
