# Questions to the gateway's log, which has one line of JSON for each request (docs/observability.md): no text in it, no
# key, no name of a tenant.

locals {
  requests = "filter ispresent(dialect) and dialect != \"own\""
  queries = {
    latency-by-tier      = <<-EOT
      ${local.requests}
      | stats count(*) as requests, pct(seconds, 50) as p50, pct(seconds, 95) as p95, pct(seconds, 99) as p99 by tier
      | sort requests desc
    EOT
    latency-over-time    = <<-EOT
      ${local.requests}
      | stats pct(seconds, 95) as p95, pct(seconds, 99) as p99 by bin(5m)
    EOT
    hit-rate-over-time   = <<-EOT
      ${local.requests} and tier != "pass"
      | stats 100 * sum(strcontains("exact semantic verified", tier)) / count(*) as percent, count(*) as requests by bin(15m)
    EOT
    reasons-of-misses    = <<-EOT
      ${local.requests} and ispresent(reason)
      | stats count(*) as requests by reason
      | sort requests desc
    EOT
    errors               = <<-EOT
      ${local.requests} and (status >= 500 or ispresent(error))
      | fields @timestamp, status, error, model, seconds
      | sort @timestamp desc
      | limit 100
    EOT
    slowest              = <<-EOT
      ${local.requests}
      | fields @timestamp, seconds, tier, reason, model, stream, status
      | sort seconds desc
      | limit 50
    EOT
    questions-asked-most = <<-EOT
      ${local.requests} and ispresent(key)
      | stats count(*) as requests by key, tier
      | sort requests desc
      | limit 50
    EOT
  }
}

resource "aws_cloudwatch_query_definition" "this" {
  for_each        = local.queries
  name            = "Yamabiko/${var.name}/${each.key}"
  log_group_names = [var.log_group]
  query_string    = trimspace(each.value)
}
