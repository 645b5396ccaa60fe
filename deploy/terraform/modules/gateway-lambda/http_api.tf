# The edge whose answers arrive whole.

resource "aws_apigatewayv2_api" "http" {
  count         = local.streams ? 0 : 1
  name          = var.name
  description   = "Yamabiko ${var.name}"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "http" {
  count                  = local.streams ? 0 : 1
  api_id                 = aws_apigatewayv2_api.http[0].id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_alias.live.invoke_arn
  payload_format_version = "2.0"
  timeout_milliseconds   = var.timeout_seconds * 1000
}

resource "aws_apigatewayv2_route" "http" {
  count              = local.streams ? 0 : 1
  api_id             = aws_apigatewayv2_api.http[0].id
  route_key          = "ANY /{proxy+}"
  authorization_type = var.authorization
  target             = "integrations/${aws_apigatewayv2_integration.http[0].id}"
}

resource "aws_apigatewayv2_stage" "http" {
  count       = local.streams ? 0 : 1
  api_id      = aws_apigatewayv2_api.http[0].id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    throttling_burst_limit   = var.burst
    throttling_rate_limit    = var.requests_per_second
    detailed_metrics_enabled = true
  }
  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.edge.arn
    format          = local.access_log
  }
}

resource "aws_lambda_permission" "http" {
  count         = local.streams ? 0 : 1
  statement_id  = "HttpApi"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.gateway.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.http[0].execution_arn}/*"
}

resource "aws_cloudwatch_log_group" "edge" {
  name              = "/yamabiko/${var.name}/edge"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

locals {
  access_log = jsonencode({ # no header, no query: keys stay out of logs
    time      = "$context.requestTime"
    method    = "$context.httpMethod"
    status    = "$context.status"
    latency   = "$context.responseLatency"
    bytes     = "$context.responseLength"
    requestId = "$context.requestId"
  })
}
