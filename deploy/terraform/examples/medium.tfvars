# Some 1,000 requests a day: a function that is always warm, a node of size large and a replica in another zone.
name       = "yamabiko-medium"
region     = "ap-northeast-1"
account_id = "111122223333" # yours

zones         = ["ap-northeast-1a", "ap-northeast-1c"]
node_type     = "db.r7g.large"
replicas      = 1
snapshot_days = 14

embedding = { dimensions = 1024 }
models = {
  openai = { # Tokyo and Osaka answer under this profile
    id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
    profile = "jp"
    regions = ["ap-northeast-1", "ap-northeast-3"]
  }
}

gateway                 = "lambda"
package                 = { zip = "build/yamabiko-arm64.zip" }
report_zip              = "build/yamabiko-arm64.zip"
memory_megabytes        = 1536
concurrency             = 50
provisioned_concurrency = 2
secrets                 = ["YAMABIKO_SIGNING_KEYS"]

warm_up = { # your bucket, your clients' requests, your tenant
  questions = "yamabiko-questions/top.txt"
  like      = "{\"model\": \"any\", \"max_tokens\": 500}"
  tenant    = "acme"
  arguments = ["--top", "500", "--max-usd", "2"]
}

mails       = ["ops@example.com"] # yours
monthly_usd = 800
timezone    = "Asia/Tokyo"
