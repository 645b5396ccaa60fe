# The gateway as a Lambda function. Two edges, as streams out of a VPC have it (README.md):
#
# * http: an HTTP API. Answers arrive whole, within 30 seconds.
# * rest: a REST API that streams. Lambda's own runtime for Python does not: the gateway's image brings one that does.

locals {
  streams = var.api == "rest"
  image   = var.package.image != ""
  guarded = var.tenants || length(var.secrets) > 0

  # Lambda has no secrets of its own: a wrapper reads them, then starts what was to be started.
  python  = "/opt/yamabiko/bin/python"
  unseal  = local.guarded ? [local.python, "-m", "yamabiko.aws.secrets"] : []
  runtime = [local.python, "-m", "yamabiko.gateway.lambda_runtime"]
  environment = merge(
    var.environment,
    length(var.secrets) == 0 ? {} : { SECRETS = jsonencode(var.secrets) },
    var.tenants ? { SECRET_FILES = jsonencode({ YAMABIKO_GATEWAY__TENANTS_PATH = var.tenants_secret_arn }) } : {},
  )
  wrapped   = merge(local.environment, local.guarded ? { AWS_LAMBDA_EXEC_WRAPPER = "/var/task/with_secrets" } : {})
  log_group = "/yamabiko/${var.name}/gateway"
}

resource "aws_cloudwatch_log_group" "gateway" {
  name              = local.log_group
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_lambda_function" "gateway" {
  function_name = var.name
  description   = "Yamabiko's gateway"
  role          = aws_iam_role.function.arn

  package_type     = local.image ? "Image" : "Zip"
  image_uri        = local.image ? var.package.image : null
  filename         = local.image ? null : var.package.zip
  source_code_hash = local.image ? null : filebase64sha256(var.package.zip)
  runtime          = local.image ? null : var.runtime
  handler          = local.image ? null : "yamabiko.gateway.lambda_handler.handler"
  architectures    = [var.architecture]

  memory_size                    = var.memory_megabytes
  timeout                        = var.timeout_seconds
  reserved_concurrent_executions = var.concurrency
  publish                        = true
  kms_key_arn                    = var.kms_key_arn

  environment {
    variables = local.image ? local.environment : local.wrapped
  }
  ephemeral_storage {
    size = 512
  }
  logging_config {
    log_format = "Text" # metrics are whole lines of JSON: another format would wrap them
    log_group  = aws_cloudwatch_log_group.gateway.name
  }
  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [var.security_group_id]
  }
  dynamic "image_config" { # the same image as on ECS, begun in another way
    for_each = local.image ? [1] : []
    content {
      entry_point       = concat(local.unseal, local.runtime)
      command           = local.streams ? ["--stream"] : []
      working_directory = "/tmp"
    }
  }
  dynamic "snap_start" {
    for_each = var.snap_start ? [1] : []
    content {
      apply_on = "PublishedVersions"
    }
  }

  # Lambda asks for these rights while it makes the function, and the function when it begins.
  depends_on = [
    aws_iam_role_policy.run,
    aws_iam_role_policy.settings,
    aws_iam_role_policy_attachment.gateway,
    aws_iam_role_policy_attachment.secrets,
  ]

  lifecycle {
    precondition {
      condition     = local.image != (var.package.zip != "")
      error_message = "The package is either a zip or an image."
    }
    precondition {
      condition     = !local.streams || local.image
      error_message = "A stream needs the runtime that the image brings: package = { image = ... }."
    }
    precondition {
      condition     = !var.snap_start || (!local.image && var.provisioned_concurrency == 0)
      error_message = "SnapStart is for zips, and not beside provisioned concurrency."
    }
    precondition {
      condition     = local.streams || var.timeout_seconds <= 30
      error_message = "An HTTP API waits for 30 seconds at most."
    }
  }
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.gateway.function_name
  function_version = aws_lambda_function.gateway.version
}

resource "aws_lambda_provisioned_concurrency_config" "live" {
  count                             = var.provisioned_concurrency > 0 ? 1 : 0
  function_name                     = aws_lambda_function.gateway.function_name
  qualifier                         = aws_lambda_alias.live.name
  provisioned_concurrent_executions = var.provisioned_concurrency
}
