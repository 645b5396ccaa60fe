# Some 100 requests a day: a function, one small node, no replica. A failure costs minutes of hits, never an answer.
name       = "yamabiko-small"
region     = "ap-northeast-1"
account_id = "111122223333" # yours

zones         = ["ap-northeast-1a", "ap-northeast-1c"]
node_type     = "db.t4g.small"
replicas      = 0
snapshot_days = 7

embedding = { dimensions = 512 }
models = {
  openai = { # Tokyo and Osaka answer under this profile
    id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
    profile = "jp"
    regions = ["ap-northeast-1", "ap-northeast-3"]
  }
}

gateway          = "lambda"
package          = { zip = "build/yamabiko-arm64.zip" }
report_zip       = "build/yamabiko-arm64.zip"
memory_megabytes = 1024
concurrency      = 10

mails        = ["ops@example.com"] # yours
min_requests = 10
monthly_usd  = 100
anomaly_usd  = 10
timezone     = "Asia/Tokyo"
log_days     = 90
