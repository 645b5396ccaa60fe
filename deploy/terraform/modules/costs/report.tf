# `yamabiko costs` as a function, once a day: docs/costs.md has its input. It stands outside the network, since it reaches
# neither the cache nor a model: Cost Explorer, CloudWatch, MemoryDB's API and the topic are all that it asks.

locals {
  reports   = var.report_zip != ""
  function  = "${var.name}-costs"
  log_group = "/yamabiko/${var.name}/costs"
}

resource "aws_cloudwatch_log_group" "report" {
  count             = local.reports ? 1 : 0
  name              = local.log_group
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_lambda_function" "report" {
  count         = local.reports ? 1 : 0
  function_name = local.function
  description   = "yamabiko costs, sent to the topic"
  role          = aws_iam_role.report[0].arn

  filename         = var.report_zip
  source_code_hash = filebase64sha256(var.report_zip)
  runtime          = var.runtime
  handler          = "yamabiko.costs.lambda_handler.handler"
  architectures    = [var.architecture]

  memory_size                    = 256
  timeout                        = 300
  reserved_concurrent_executions = 1
  kms_key_arn                    = var.kms_key_arn

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.report[0].name
  }
}

resource "aws_iam_role" "report" {
  count = local.reports ? 1 : 0
  name  = local.function
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "report" {
  count = local.reports ? 1 : 0
  name  = "report"
  role  = aws_iam_role.report[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["ce:GetCostAndUsage", "cloudwatch:GetMetricData"]
        Resource = "*" # AWS requires it: neither of these knows resources
      },
      {
        Sid      = "Nodes"
        Effect   = "Allow"
        Action   = "memorydb:DescribeClusters"
        Resource = var.cluster_arn
      },
      {
        Sid      = "Send"
        Effect   = "Allow"
        Action   = "sns:Publish"
        Resource = var.topic_arn
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "sns.${var.region}.amazonaws.com" } }
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:aws:logs:${var.region}:${var.account_id}:log-group:${local.log_group}:*"
      },
    ]
  })
}

resource "aws_scheduler_schedule" "report" {
  count                        = local.reports ? 1 : 0
  name                         = local.function
  description                  = "The report on costs"
  schedule_expression          = var.report_schedule
  schedule_expression_timezone = var.report_timezone
  kms_key_arn                  = var.kms_key_arn

  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 15
  }
  target {
    arn      = aws_lambda_function.report[0].arn
    role_arn = aws_iam_role.schedule[0].arn
    input    = jsonencode(merge({ topic_arn = var.topic_arn, deployment = var.name, cluster = var.name }, var.report))

    retry_policy {
      maximum_retry_attempts       = 3
      maximum_event_age_in_seconds = 3600
    }
  }
}

resource "aws_iam_role" "schedule" {
  count = local.reports ? 1 : 0
  name  = "${local.function}-schedule"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "schedule" {
  count = local.reports ? 1 : 0
  name  = "invoke"
  role  = aws_iam_role.schedule[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Invoke"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = "arn:aws:lambda:${var.region}:${var.account_id}:function:${local.function}"
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "scheduler.${var.region}.amazonaws.com" } }
      },
    ]
  })
}
