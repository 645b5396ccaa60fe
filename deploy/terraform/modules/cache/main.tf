# MemoryDB with vector search. What must hold, or the cache does not work at all: search-enabled when it is created, one
# shard, an IAM user with eval and evalsha, TLS. docs/memorydb.md has the reasons.

resource "aws_memorydb_parameter_group" "search" {
  name        = "${var.name}-search"
  family      = "memorydb_valkey7"
  description = "Vector search, which can't be switched on later"

  parameter {
    name  = "search-enabled"
    value = "yes"
  }
  parameter { # entries have an expiry, the sorted sets that name them have none and must stay
    name  = "maxmemory-policy"
    value = var.maxmemory_policy
  }
}

resource "aws_memorydb_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_memorydb_user" "gateway" {
  user_name     = var.user_name
  access_string = local.access_string
  authentication_mode {
    type = "iam"
  }
}

resource "aws_memorydb_acl" "this" {
  name       = var.name
  user_names = [aws_memorydb_user.gateway.user_name]
}

resource "aws_memorydb_cluster" "this" {
  name                       = var.name
  description                = "Yamabiko ${var.name}"
  engine                     = "valkey"
  engine_version             = var.engine_version
  node_type                  = var.node_type
  num_shards                 = 1 # vector search has no more
  num_replicas_per_shard     = var.replicas
  tls_enabled                = true
  kms_key_arn                = var.kms_key_arn
  acl_name                   = aws_memorydb_acl.this.name
  parameter_group_name       = aws_memorydb_parameter_group.search.name
  subnet_group_name          = aws_memorydb_subnet_group.this.name
  security_group_ids         = [var.security_group_id]
  auto_minor_version_upgrade = true
  maintenance_window         = var.maintenance_window
  snapshot_window            = var.snapshot_window
  snapshot_retention_limit   = var.snapshot_days
  snapshot_name              = var.restore_from == "" ? null : var.restore_from
  final_snapshot_name        = var.final_snapshot ? "${var.name}-final" : null
  sns_topic_arn              = var.sns_topic_arn

  lifecycle {
    precondition {
      condition     = var.final_snapshot || var.snapshot_days <= 1
      error_message = "A cluster whose snapshots are kept for longer than a day leaves a last one behind: final_snapshot."
    }
  }
}

locals {
  # Only the cache's own keys, and what the gateway does with them. eval and evalsha are in none of the categories.
  access_string = join(" ", [
    "on ~${var.cache_name}:* resetchannels -@all +@read +@write +@connection -@dangerous +@search",
    "+eval +evalsha +time +info +cluster|slots",
  ])
}
