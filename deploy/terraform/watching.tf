resource "aws_sns_topic" "alerts" {
  name              = "${var.name}-alerts"
  kms_master_key_id = module.key.arn
}

resource "aws_sns_topic_subscription" "mail" {
  for_each  = var.mails
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Services"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
      },
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${var.account_id}:root" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
      },
      {
        Sid       = "OnlyEncrypted"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

module "observability" {
  source            = "./modules/observability"
  name              = var.name
  region            = var.region
  topic_arn         = aws_sns_topic.alerts.arn
  cluster_name      = module.cache.cluster_name
  node_type         = var.node_type
  replicas          = var.replicas
  function          = !local.ecs
  function_name     = var.name
  balanced          = local.ecs
  load_balancer     = local.ecs ? module.gateway_ecs[0].load_balancer : ""
  target_groups     = local.ecs ? module.gateway_ecs[0].target_groups : {}
  log_group         = "/yamabiko/${var.name}/gateway"
  min_hit_percent   = var.min_hit_percent
  min_requests      = var.min_requests
  p99_seconds       = var.p99_seconds
  max_error_percent = var.max_error_percent
}

module "costs" {
  source              = "./modules/costs"
  name                = var.name
  region              = var.region
  account_id          = var.account_id
  topic_arn           = aws_sns_topic.alerts.arn
  monthly_usd         = var.monthly_usd
  cost_filters        = var.cost_filters
  anomaly_usd         = var.anomaly_usd
  anomaly_monitor_arn = var.anomaly_monitor_arn
  cluster_arn         = module.cache.cluster_arn
  report_zip          = var.report_zip
  report_timezone     = var.timezone
  report = {
    model     = local.priced
    embedder  = var.embedding.model
    dim       = var.embedding.dimensions
    gateway   = var.gateway
    endpoints = length(local.endpoints)
    zones     = length(var.zones)
    days      = 1
  }
  architecture = lower(var.architecture)
  kms_key_arn  = module.key.arn
  log_days     = var.log_days
}

locals {
  # Names, not resources: an alarm of the load balancer can't wait for what waits for the alarm.
  rollback_alarms = [for alarm in ["gateway-errors", "store-errors", "upstream-errors"] : "${var.name}-${alarm}"]

  # The report reckons with one model: the first by name.
  first  = var.models[sort(keys(var.models))[0]]
  priced = local.first.profile == "" ? local.first.id : "${local.first.profile}.${local.first.id}"
}
