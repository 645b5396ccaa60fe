# Alarms, a dashboard, and questions to the log. Every alarm names the dimensions of its metric: one without matches
# nothing, and stays silent for ever.

locals {
  ours    = { Deployment = var.name }
  cluster = { ClusterName = var.cluster_name }

  # Nodes of two vCPUs run one engine thread beside the system: their whole processor is watched, at 90 % of one vCPU.
  # On larger ones the engine's thread is. Source: MemoryDB developer guide, metrics to monitor.
  small_node = can(regex("\\.(small|medium|large)$", var.node_type))
  processor = {
    metric    = local.small_node ? "CPUUtilization" : "EngineCPUUtilization"
    threshold = local.small_node ? 45 : 90
  }

  # Of one metric each. `quiet`: what no data mean.
  alarms = merge(
    {
      memory = {
        namespace = "AWS/MemoryDB", metric = "DatabaseMemoryUsagePercentage", dimensions = local.cluster
        statistic = "Maximum", period = 300, periods = 3, compare = "GreaterThanThreshold", threshold = 80
        quiet     = "missing", severity = "page"
        text      = "Memory of the cache is over 80 %. Before it is full: a larger node, a shorter life of answers, fewer dimensions."
      }
      evictions = {
        namespace = "AWS/MemoryDB", metric = "Evictions", dimensions = local.cluster
        statistic = "Sum", period = 300, periods = 3, compare = "GreaterThanThreshold", threshold = 0
        quiet     = "notBreaching", severity = "ticket"
        text      = "The cache is full and lets answers go before their time."
      }
      processor = {
        namespace = "AWS/MemoryDB", metric = local.processor.metric, dimensions = local.cluster
        statistic = "Average", period = 300, periods = 3, compare = "GreaterThanThreshold"
        threshold = local.processor.threshold
        quiet     = "missing", severity = "page"
        text      = "The node has little processor left: a larger node, or searches on replicas (replica_search)."
      }
      sign-in = {
        namespace = "AWS/MemoryDB", metric = "AuthenticationFailures", dimensions = local.cluster
        statistic = "Sum", period = 300, periods = 1, compare = "GreaterThanThreshold", threshold = 0
        quiet     = "notBreaching", severity = "ticket"
        text      = "Somebody could not sign in to the cache: a gateway whose IAM policy has changed, or nobody of ours."
      }
      store-errors = {
        namespace = "Yamabiko", metric = "StoreErrors", dimensions = local.ours
        statistic = "Sum", period = 300, periods = 3, compare = "GreaterThanThreshold", threshold = var.errors
        quiet     = "notBreaching", severity = "page"
        text      = "The gateway can't reach the cache: all requests go to the model."
      }
      embedder-errors = {
        namespace = "Yamabiko", metric = "EmbedderErrors", dimensions = local.ours
        statistic = "Sum", period = 300, periods = 3, compare = "GreaterThanThreshold", threshold = var.errors
        quiet     = "notBreaching", severity = "ticket"
        text      = "Texts get no vector: only exact hits are served."
      }
      upstream-errors = {
        namespace = "Yamabiko", metric = "UpstreamErrors", dimensions = local.ours
        statistic = "Sum", period = 300, periods = 3, compare = "GreaterThanThreshold", threshold = var.errors
        quiet     = "notBreaching", severity = "page"
        text      = "The model refuses or fails: look at its quota, its life cycle and the gateway's role."
      }
      latency = {
        namespace = "Yamabiko", metric = "LatencySeconds", dimensions = local.ours
        statistic = "p99", period = 300, periods = 3, compare = "GreaterThanThreshold", threshold = var.p99_seconds
        quiet     = "notBreaching", severity = "ticket"
        text      = "One request in a hundred takes longer than it may."
      }
      wrong-rate = {
        namespace = "Yamabiko", metric = "WrongRateUpperBound", dimensions = local.ours
        statistic = "Maximum", period = 3600, periods = 1, compare = "GreaterThanThreshold"
        threshold = var.max_error_percent
        quiet     = "notBreaching", severity = "page"
        text      = "Audits can't exclude that more answers are wrong than was promised (policy.max_error_rate)."
      }
      certificate = {
        namespace = "Yamabiko", metric = "CertificateLost", dimensions = local.ours
        statistic = "Sum", period = 300, periods = 1, compare = "GreaterThanThreshold", threshold = 0
        quiet     = "notBreaching", severity = "page"
        text      = "A threshold has lost its certificate: the cache serves exact hits only, or is stricter, until it is certified again."
      }
    },
    var.replicas == 0 ? {} : {
      replication = {
        namespace = "AWS/MemoryDB", metric = "ReplicationLag", dimensions = local.cluster
        statistic = "Maximum", period = 60, periods = 5, compare = "GreaterThanThreshold", threshold = 1
        quiet     = "missing", severity = "ticket"
        text      = "A replica is more than a second behind: searches on replicas miss what is new."
      }
    },
    !var.function ? {} : {
      function-errors = {
        namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = var.function_name }
        statistic = "Sum", period = 300, periods = 2, compare = "GreaterThanThreshold", threshold = var.errors
        quiet     = "notBreaching", severity = "page"
        text      = "The function fails or runs out of time."
      }
      function-throttles = {
        namespace = "AWS/Lambda", metric = "Throttles", dimensions = { FunctionName = var.function_name }
        statistic = "Sum", period = 300, periods = 2, compare = "GreaterThanThreshold", threshold = 0
        quiet     = "notBreaching", severity = "ticket"
        text      = "More requests at a time than the function may take (concurrency)."
      }
    },
    !var.balanced ? {} : {
      gateway-errors = {
        namespace  = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count"
        dimensions = { LoadBalancer = var.load_balancer }
        statistic  = "Sum", period = 300, periods = 2, compare = "GreaterThanThreshold", threshold = var.errors
        quiet      = "notBreaching", severity = "page"
        text       = "The gateway answers with errors."
      }
    },
    { for colour, group in var.target_groups : "unhealthy-${colour}" => {
      namespace  = "AWS/ApplicationELB", metric = "UnHealthyHostCount"
      dimensions = { TargetGroup = group, LoadBalancer = var.load_balancer }
      statistic  = "Maximum", period = 60, periods = 5, compare = "GreaterThanThreshold", threshold = 0
      quiet      = "notBreaching", severity = "ticket"
      text       = "A task does not answer."
    } },
  )

  hit_tiers = ["exact", "semantic", "verified"]
  tiers     = concat(local.hit_tiers, ["miss"])
}

resource "aws_cloudwatch_metric_alarm" "single" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "[${each.value.severity}] ${each.value.text}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.compare
  threshold           = each.value.threshold
  treat_missing_data  = each.value.quiet
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

# From counts, not from a mean of rates: a quiet minute counts as little as it is. Hours with next to no requests pass.
resource "aws_cloudwatch_metric_alarm" "hit_rate" {
  alarm_name          = "${var.name}-hit-rate"
  alarm_description   = "[ticket] Fewer than ${var.min_hit_percent} % of an hour's requests were answered from the cache."
  comparison_operator = "LessThanThreshold"
  threshold           = var.min_hit_percent
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]

  dynamic "metric_query" {
    for_each = local.tiers
    content {
      id = metric_query.value
      metric {
        namespace   = "Yamabiko"
        metric_name = "Requests"
        dimensions  = merge(local.ours, { Tier = metric_query.value })
        period      = 3600
        stat        = "Sum"
      }
    }
  }
  metric_query {
    id         = "hits"
    expression = join(" + ", [for tier in local.hit_tiers : "FILL(${tier}, 0)"])
  }
  metric_query {
    id          = "rate"
    label       = "hits of an hour, percent"
    expression  = "IF(hits + FILL(miss, 0) >= ${var.min_requests}, 100 * hits / (hits + FILL(miss, 0)), 100)"
    return_data = true
  }
}

# What the hour of the week lets expect, and less than that: the traffic has changed, or somebody fills the cache with
# what nobody asks for.
resource "aws_cloudwatch_metric_alarm" "hit_rate_drop" {
  alarm_name          = "${var.name}-hit-rate-drop"
  alarm_description   = "[ticket] The hit rate has fallen below what it usually is: changed traffic, or a polluted cache."
  comparison_operator = "LessThanLowerThreshold"
  threshold_metric_id = "band"
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]

  metric_query {
    id          = "rate"
    return_data = true
    metric {
      namespace   = "Yamabiko"
      metric_name = "HitRate"
      dimensions  = local.ours
      period      = 900
      stat        = "Average"
    }
  }
  metric_query {
    id          = "band"
    label       = "expected"
    expression  = "ANOMALY_DETECTION_BAND(rate, ${var.band_width})"
    return_data = true
  }
}
