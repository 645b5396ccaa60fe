# A function that streams: the image behind a REST API, and AWS WAF before it.
name       = "yamabiko-stream"
region     = "ap-northeast-1"
account_id = "111122223333" # yours

zones     = ["ap-northeast-1a", "ap-northeast-1c"]
node_type = "db.t4g.medium"
replicas  = 1

models = {
  openai = {
    id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
    profile = "jp"
    regions = ["ap-northeast-1", "ap-northeast-3"]
  }
}

gateway         = "lambda"
api             = "rest"
package         = { image = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/yamabiko:0.1.0" } # yours
authorization   = "NONE"
waf             = true
timeout_seconds = 300
concurrency     = 50

mails       = ["ops@example.com"] # yours
monthly_usd = 300
