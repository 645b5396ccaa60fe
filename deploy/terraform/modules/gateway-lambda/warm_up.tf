# The deploy hook: after each new version of the gateway, the questions of a file are answered and stored
# (docs/warm-up.md). What is stored already is skipped, so that a run that was cut off is simply run again.

locals {
  warm_log_group = "/yamabiko/${var.name}/warm-up"
}

resource "aws_cloudwatch_log_group" "warm" {
  count             = var.warm_up == null ? 0 : 1
  name              = local.warm_log_group
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_lambda_function" "warm" {
  count         = var.warm_up == null ? 0 : 1
  function_name = "${var.name}-warm-up"
  description   = "yamabiko warm, before traffic arrives"
  role          = aws_iam_role.function.arn

  package_type     = "Zip"
  filename         = var.warm_up.zip
  source_code_hash = filebase64sha256(var.warm_up.zip)
  runtime          = var.runtime
  handler          = "yamabiko.cli.warm_lambda.handler"
  architectures    = [var.architecture]

  memory_size                    = var.memory_megabytes
  timeout                        = 900
  reserved_concurrent_executions = 1
  kms_key_arn                    = var.kms_key_arn

  environment {
    variables = local.wrapped
  }
  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.warm[0].name
  }
  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [var.security_group_id]
  }

  depends_on = [
    aws_iam_role_policy.run,
    aws_iam_role_policy.settings,
    aws_iam_role_policy_attachment.gateway,
    aws_iam_role_policy_attachment.secrets,
  ]
}

resource "aws_lambda_invocation" "warm" {
  count         = var.warm_up == null ? 0 : 1
  function_name = aws_lambda_function.warm[0].function_name
  input         = jsonencode({ arguments = var.warm_up.arguments })
  triggers      = { version = aws_lambda_function.gateway.version }

  depends_on = [aws_lambda_alias.live]
}
