# To try it: a function in one zone, one small node, snapshots of a day, nothing that is kept when it is removed.
name       = "yamabiko-dev"
region     = "ap-northeast-1"
account_id = "111122223333" # yours

zones          = ["ap-northeast-1a"]
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

gateway     = "lambda"
package     = { zip = "build/yamabiko-arm64.zip" }
concurrency = 2

monthly_usd = 60
log_days    = 7
