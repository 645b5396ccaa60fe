# One deployment: network, cache, gateway, alarms and costs. What differs between sizes stands in examples/*.tfvars.

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id] # never the account that happens to be signed in

  default_tags {
    tags = merge({ Deployment = var.name, ManagedBy = "terraform" }, var.tags)
  }
}

locals {
  ecs = var.gateway == "ecs"

  # Bedrock, logs and sign-in are asked by both gateways; images are fetched by ECS from within.
  usual = concat(
    ["bedrock-runtime", "logs", "monitoring", "sts"],
    length(var.knowledge_bases) > 0 ? ["bedrock-agent-runtime"] : [],
    local.ecs ? ["ecr.api", "ecr.dkr"] : [],
    length(local.secret_arns) > 0 ? ["secretsmanager"] : [],
  )
  endpoints = toset(var.endpoints == null ? local.usual : var.endpoints)
  buckets = toset(concat(
    local.ecs ? ["prod-${var.region}-starport-layer-bucket"] : [], # where ECR keeps the layers of images
    local.warming ? [split("/", var.warm_up.questions)[0]] : [],
  ))

  warming = var.warm_up.questions != ""
  warm = !local.warming ? [] : concat(
    ["--from", "s3://${var.warm_up.questions}", "--like", var.warm_up.like],
    var.warm_up.tenant == "" ? [] : ["--tenant", var.warm_up.tenant],
    var.warm_up.arguments,
  )
}

module "key" {
  source     = "./modules/key"
  name       = var.name
  region     = var.region
  account_id = var.account_id
  fargate    = local.ecs
}

module "network" {
  source      = "./modules/network"
  name        = var.name
  region      = var.region
  account_id  = var.account_id
  cidr        = var.cidr
  zones       = var.zones
  endpoints   = local.endpoints
  buckets     = local.buckets
  edge        = local.ecs
  public_edge = local.ecs && var.public
  callers     = var.callers
  kms_key_arn = module.key.arn
  log_days    = var.log_days
}

module "cache" {
  source            = "./modules/cache"
  name              = var.name
  region            = var.region
  account_id        = var.account_id
  cache_name        = var.cache_name
  node_type         = var.node_type
  replicas          = var.replicas
  replica_search    = var.replica_search
  snapshot_days     = var.snapshot_days
  final_snapshot    = var.final_snapshot
  restore_from      = var.restore_from
  subnet_ids        = module.network.private_subnet_ids
  security_group_id = module.network.cache_security_group_id
  kms_key_arn       = module.key.arn
}

module "access" {
  source          = "./modules/access"
  name            = var.name
  region          = var.region
  account_id      = var.account_id
  cluster_arn     = module.cache.cluster_arn
  user_arn        = module.cache.user_arn
  embedding_model = var.embedding.model
  models          = var.models
  knowledge_bases = var.knowledge_bases
  questions       = var.warm_up.questions
  secret_arns     = local.secret_arns
  kms_key_arn     = module.key.arn
}

module "waf" {
  count       = var.waf ? 1 : 0
  source      = "./modules/waf"
  name        = var.name
  kms_key_arn = module.key.arn
  log_days    = var.log_days
}

module "gateway_lambda" {
  count                   = local.ecs ? 0 : 1
  source                  = "./modules/gateway-lambda"
  name                    = var.name
  region                  = var.region
  account_id              = var.account_id
  package                 = var.package
  architecture            = lower(var.architecture)
  api                     = var.api
  authorization           = var.authorization
  memory_megabytes        = var.memory_megabytes
  timeout_seconds         = var.timeout_seconds
  concurrency             = var.concurrency
  provisioned_concurrency = var.provisioned_concurrency
  snap_start              = var.snap_start
  waf                     = var.waf
  web_acl_arn             = one(module.waf[*].arn)
  environment             = local.settings
  secrets                 = local.secrets
  tenants                 = var.tenants
  tenants_secret_arn      = local.tenants_arn
  policy_arn              = module.access.policy_arn
  secrets_policy_arn      = module.access.secrets_policy_arn
  subnet_ids              = module.network.private_subnet_ids
  security_group_id       = module.network.gateway_security_group_id
  kms_key_arn             = module.key.arn
  log_days                = var.log_days
  warm_up                 = local.warming ? { zip = var.package.zip, arguments = local.warm } : null
}

module "gateway_ecs" {
  count                  = local.ecs ? 1 : 0
  source                 = "./modules/gateway-ecs"
  name                   = var.name
  region                 = var.region
  account_id             = var.account_id
  image                  = var.package.image
  repository             = var.repository
  architecture           = upper(var.architecture)
  cpu                    = var.cpu
  memory_megabytes       = var.memory_megabytes
  tasks                  = var.tasks
  deployment             = var.deployment
  rollback_alarms        = local.rollback_alarms
  public                 = var.public
  web_acl                = var.waf
  web_acl_arn            = one(module.waf[*].arn)
  certificate_arn        = var.certificate_arn
  deletion_protection    = var.final_snapshot
  access_log_bucket      = var.access_log_bucket
  environment            = local.settings
  secrets                = local.secrets
  tenants                = var.tenants
  tenants_secret_arn     = local.tenants_arn
  policy_arn             = module.access.policy_arn
  secrets_policy_arn     = module.access.secrets_policy_arn
  vpc_id                 = module.network.vpc_id
  private_subnet_ids     = module.network.private_subnet_ids
  public_subnet_ids      = module.network.public_subnet_ids
  security_group_id      = module.network.gateway_security_group_id
  edge_security_group_id = module.network.edge_security_group_id
  kms_key_arn            = module.key.arn
  log_days               = var.log_days
  warm_up                = local.warm
}
