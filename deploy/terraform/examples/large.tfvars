# 10,000 requests a day and more: tasks behind a load balancer, streams, two replicas, blue/green, a public edge.
name       = "yamabiko-large"
region     = "ap-northeast-1"
account_id = "111122223333" # yours

zones          = ["ap-northeast-1a", "ap-northeast-1c"]
node_type      = "db.r7g.xlarge"
replicas       = 2
replica_search = true
snapshot_days  = 35

embedding = { dimensions = 1024 }
models = {
  openai = { # Tokyo and Osaka answer under this profile
    id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
    profile = "jp"
    regions = ["ap-northeast-1", "ap-northeast-3"]
  }
}
knowledge_bases = ["KB12345678"] # yours

gateway          = "ecs"
package          = { image = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/yamabiko:0.1.0" } # yours
report_zip       = "build/yamabiko-arm64.zip"
repository       = "yamabiko"
cpu              = 2048
memory_megabytes = 4096
tasks            = { least = 2, most = 20 }
deployment       = "blue-green"
public           = true
callers          = ["0.0.0.0/0"]
waf              = true
certificate_arn  = "arn:aws:acm:ap-northeast-1:111122223333:certificate/00000000-0000-0000-0000-000000000000" # yours
secrets          = ["YAMABIKO_SIGNING_KEYS"]

warm_up = { # your bucket, your clients' requests, your tenant
  questions = "yamabiko-questions/top.txt"
  like      = "{\"model\": \"any\", \"max_tokens\": 500}"
  tenant    = "acme"
  arguments = ["--top", "500", "--max-usd", "2"]
}

mails       = ["ops@example.com"] # yours
p99_seconds = 15
monthly_usd = 4000
anomaly_usd = 100
timezone    = "Asia/Tokyo"
