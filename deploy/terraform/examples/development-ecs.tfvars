# The large size, small and for a while: one task in a private network, two zones as the load balancer demands.
name       = "yamabiko-dev-ecs"
region     = "ap-northeast-1"
account_id = "111122223333" # yours

zones          = ["ap-northeast-1a", "ap-northeast-1c"]
node_type      = "db.t4g.small"
replicas       = 0
snapshot_days  = 1
final_snapshot = false

embedding = { dimensions = 256 }
models = {
  openai = {
    id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
    profile = "jp"
    regions = ["ap-northeast-1", "ap-northeast-3"]
  }
}

gateway          = "ecs"
package          = { image = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/yamabiko:0.1.0" } # yours
cpu              = 512
memory_megabytes = 1024
tasks            = { least = 1, most = 2 }
tenants          = false # private: each API key is a tenant of its own
callers          = ["10.0.0.0/8"]
certificate_arn  = "arn:aws:acm:ap-northeast-1:111122223333:certificate/00000000-0000-0000-0000-000000000000" # yours

monthly_usd = 150
log_days    = 7
