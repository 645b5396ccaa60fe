# Modules with everything given, so that a plan knows what in a whole deployment it learns only when it is applied: the
# containers of a task, the policy on secrets, a function's settings. For the tests alone.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = "ap-northeast-1"
}

locals {
  name    = "parts"
  region  = "ap-northeast-1"
  account = "111122223333"
  key     = "arn:aws:kms:ap-northeast-1:111122223333:key/00000000-0000-0000-0000-000000000000"
  secret  = "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:parts"
  url     = "memorydb://yamabiko-gateway@clustercfg.parts.abc123.memorydb.ap-northeast-1.amazonaws.com:6379?auth=iam&region=ap-northeast-1&cluster_name=parts&name=yamabiko"
  settings = {
    YAMABIKO_URL                 = local.url
    YAMABIKO_DEPLOYMENT          = local.name
    YAMABIKO_EMBEDDER__KIND      = "titan"
    YAMABIKO_EMBEDDER__MODEL     = "amazon.titan-embed-text-v2:0"
    YAMABIKO_EMBEDDER__DIM       = "512"
    YAMABIKO_BEDROCK__REGION     = local.region
    YAMABIKO_GATEWAY__UPSTREAMS  = module.access.upstreams
    YAMABIKO_GATEWAY__ACCESS_LOG = "true"
    YAMABIKO_GATEWAY__EMF        = "true"
    YAMABIKO_GATEWAY__HOST       = "0.0.0.0"
  }
  secrets = { YAMABIKO_SIGNING_KEYS = "${local.secret}/YAMABIKO_SIGNING_KEYS-abcdef" }
  warm_up = ["--from", "s3://questions/top.txt", "--like", jsonencode({ model = "any", max_tokens = 500 }), "--tenant", "acme"]
  tenants = "${local.secret}/tenants-abcdef"
}

module "access" {
  source          = "../../modules/access"
  name            = local.name
  region          = local.region
  account_id      = local.account
  cluster_arn     = "arn:aws:memorydb:ap-northeast-1:111122223333:cluster/parts"
  user_arn        = "arn:aws:memorydb:ap-northeast-1:111122223333:user/yamabiko-gateway"
  embedding_model = "amazon.titan-embed-text-v2:0"
  models = {
    openai = {
      id      = "anthropic.claude-haiku-4-5-20251001-v1:0"
      profile = "jp"
      regions = ["ap-northeast-1", "ap-northeast-3"]
    }
    nova = { id = "amazon.nova-lite-v1:0" }
  }
  knowledge_bases = ["KB12345678"]
  questions       = "questions/top.txt"
  secret_arns     = concat(values(local.secrets), [local.tenants])
  kms_key_arn     = local.key
}

module "ecs" {
  source                 = "../../modules/gateway-ecs"
  name                   = local.name
  region                 = local.region
  account_id             = local.account
  image                  = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/yamabiko:0.1.0"
  repository             = "yamabiko"
  certificate_arn        = "arn:aws:acm:ap-northeast-1:111122223333:certificate/00000000-0000-0000-0000-000000000000"
  environment            = local.settings
  secrets                = local.secrets
  tenants                = true
  tenants_secret_arn     = local.tenants
  policy_arn             = "arn:aws:iam::111122223333:policy/parts-gateway"
  secrets_policy_arn     = "arn:aws:iam::111122223333:policy/parts-secrets"
  vpc_id                 = "vpc-0123456789abcdef0"
  private_subnet_ids     = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  security_group_id      = "sg-0123456789abcdef0"
  edge_security_group_id = "sg-0123456789abcdef1"
  kms_key_arn            = local.key
  warm_up                = local.warm_up
}

module "function" {
  source             = "../../modules/gateway-lambda"
  name               = local.name
  region             = local.region
  account_id         = local.account
  package            = { zip = "../../build/yamabiko-arm64.zip" }
  snap_start         = true
  environment        = local.settings
  secrets            = local.secrets
  tenants            = true
  tenants_secret_arn = local.tenants
  policy_arn         = "arn:aws:iam::111122223333:policy/parts-gateway"
  secrets_policy_arn = "arn:aws:iam::111122223333:policy/parts-secrets"
  subnet_ids         = ["subnet-0123456789abcdef0"]
  security_group_id  = "sg-0123456789abcdef0"
  kms_key_arn        = local.key
  warm_up            = { zip = "../../build/yamabiko-arm64.zip", arguments = local.warm_up }
}

module "costs" {
  source              = "../../modules/costs"
  name                = local.name
  region              = local.region
  account_id          = local.account
  topic_arn           = "arn:aws:sns:ap-northeast-1:111122223333:parts-alerts"
  monthly_usd         = 100
  cost_filters        = { TagKeyValue = ["user:Deployment$parts"] }
  anomaly_monitor_arn = "arn:aws:ce::111122223333:anomalymonitor/00000000-0000-0000-0000-000000000000"
  cluster_arn         = "arn:aws:memorydb:ap-northeast-1:111122223333:cluster/parts"
  report_zip          = "../../build/yamabiko-arm64.zip"
  report              = { model = "amazon.nova-lite-v1:0", embedder = "amazon.titan-embed-text-v2:0", dim = 512 }
  kms_key_arn         = local.key
}

module "observability" {
  source        = "../../modules/observability"
  name          = local.name
  region        = local.region
  topic_arn     = "arn:aws:sns:ap-northeast-1:111122223333:parts-alerts"
  cluster_name  = local.name
  node_type     = "db.r7g.2xlarge"
  replicas      = 1
  function      = true
  function_name = local.name
  balanced      = true
  load_balancer = "app/parts/50dc6c495c0c9188"
  target_groups = { blue = "targetgroup/parts-blue/943f017f100becff" }
  log_group     = "/yamabiko/parts/gateway"
}
