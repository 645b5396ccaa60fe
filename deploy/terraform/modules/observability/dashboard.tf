locals {
  # Each chart: its title, its unit, and its lines as [namespace, metric, dimensions, statistic, label].
  charts = concat(
    [
      { title = "Requests by tier", stat = "Sum", lines = [
        for tier in concat(local.tiers, ["pass", "refused"]) : ["Yamabiko", "Requests", "Deployment", var.name, "Tier", tier, { label = tier }]
      ] },
      { title = "Hit rate, percent", stat = "Average", lines = [
        ["Yamabiko", "HitRate", "Deployment", var.name],
      ] },
      { title = "Wrong answers, percent: audits, and what they can't exclude", stat = "Maximum", lines = [
        ["Yamabiko", "WrongRate", "Deployment", var.name],
        ["Yamabiko", "WrongRateUpperBound", "Deployment", var.name],
      ] },
      { title = "Latency, seconds", stat = "p50", lines = [
        for stat in ["p50", "p95", "p99"] : ["Yamabiko", "LatencySeconds", "Deployment", var.name, { stat = stat, label = stat }]
      ] },
      { title = "Saved and spent, USD", stat = "Sum", lines = [
        ["Yamabiko", "SavedUSD", "Deployment", var.name],
        ["Yamabiko", "SpentUSD", "Deployment", var.name],
      ] },
      { title = "Near misses", stat = "Sum", lines = [["Yamabiko", "NearMisses", "Deployment", var.name]] },
      { title = "Errors", stat = "Sum", lines = [
        for metric in ["StoreErrors", "EmbedderErrors", "UpstreamErrors", "CertificateLost"] :
        ["Yamabiko", metric, "Deployment", var.name]
      ] },
      { title = "Memory of the cache, percent", stat = "Maximum", lines = [
        ["AWS/MemoryDB", "DatabaseMemoryUsagePercentage", "ClusterName", var.cluster_name],
      ] },
      { title = "Processor of the cache, percent", stat = "Average", lines = [
        for metric in ["CPUUtilization", "EngineCPUUtilization"] : ["AWS/MemoryDB", metric, "ClusterName", var.cluster_name]
      ] },
      { title = "Evicted", stat = "Sum", lines = [
        ["AWS/MemoryDB", "Evictions", "ClusterName", var.cluster_name],
        ["Yamabiko", "Evictions", "Deployment", var.name],
      ] },
      { title = "Index", stat = "Maximum", lines = [
        ["AWS/MemoryDB", "SearchNumberOfIndexedKeys", "ClusterName", var.cluster_name],
      ] },
      { title = "Connections", stat = "Maximum", lines = [
        ["AWS/MemoryDB", "CurrConnections", "ClusterName", var.cluster_name],
      ] },
    ],
    !var.function ? [] : [
      { title = "Function", stat = "Sum", lines = [
        for metric in ["Invocations", "Errors", "Throttles"] : ["AWS/Lambda", metric, "FunctionName", var.function_name]
      ] },
    ],
    !var.balanced ? [] : [
      { title = "Load balancer", stat = "Sum", lines = [
        for metric in ["RequestCount", "HTTPCode_Target_5XX_Count"] :
        ["AWS/ApplicationELB", metric, "LoadBalancer", var.load_balancer]
      ] },
    ],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for number, chart in local.charts : {
      type   = "metric"
      x      = number % 3 * 8
      y      = floor(number / 3) * 6
      width  = 8
      height = 6
      properties = {
        title   = chart.title
        region  = var.region
        view    = "timeSeries"
        stat    = chart.stat
        period  = 300
        metrics = chart.lines
      }
    }]
  })
}
