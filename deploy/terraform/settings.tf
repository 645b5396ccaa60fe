# The gateway's settings: docs/settings.md has them all. Secrets are named here and filled elsewhere, so that no state
# file ever holds one.

locals {
  settings = merge(
    {
      YAMABIKO_URL                 = module.cache.url
      YAMABIKO_DEPLOYMENT          = var.name
      YAMABIKO_EMBEDDER__KIND      = var.embedding.kind
      YAMABIKO_EMBEDDER__MODEL     = var.embedding.model
      YAMABIKO_EMBEDDER__DIM       = tostring(var.embedding.dimensions)
      YAMABIKO_BEDROCK__REGION     = var.region
      YAMABIKO_GATEWAY__UPSTREAMS  = module.access.upstreams
      YAMABIKO_GATEWAY__ACCESS_LOG = "true"
      YAMABIKO_GATEWAY__EMF        = "true"
    },
    local.ecs ? { YAMABIKO_GATEWAY__HOST = "0.0.0.0" } : {},
    var.settings,
  )

  secrets     = { for name in var.secrets : name => aws_secretsmanager_secret.settings[name].arn }
  tenants_arn = var.tenants ? aws_secretsmanager_secret.tenants[0].arn : ""
  secret_arns = concat(values(local.secrets), aws_secretsmanager_secret.tenants[*].arn)
}

resource "aws_secretsmanager_secret" "settings" {
  for_each                = var.secrets
  name                    = "${var.name}/${each.key}"
  description             = "The gateway's setting ${each.key}"
  kms_key_id              = module.key.arn
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret" "tenants" {
  count                   = var.tenants ? 1 : 0
  name                    = "${var.name}/tenants"
  description             = "The gateway's table of keys and tenants, as TOML (docs/gateway.md)"
  kms_key_id              = module.key.arn
  recovery_window_in_days = 7
}
