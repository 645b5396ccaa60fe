# One key for everything of a deployment that lies on a disk: entries, snapshots, logs, secrets, topics, tasks.

locals {
  account = { StringEquals = { "aws:SourceAccount" = var.account_id } }

  # In a key's policy "*" as resource means this key and no other: AWS takes nothing else there.
  statements = [
    {
      Sid       = "Owner"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${var.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    },
    {
      Sid       = "Logs"
      Effect    = "Allow"
      Principal = { Service = "logs.${var.region}.amazonaws.com" }
      Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
      Resource  = "*"
      Condition = {
        ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:${var.region}:${var.account_id}:log-group:*" }
      }
    },
    {
      Sid       = "Publish"
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com"] }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
      Resource  = "*"
      Condition = local.account
    },
  ]
  fargate_context = {
    "kms:EncryptionContext:aws:ecs:clusterAccount" = var.account_id
    "kms:EncryptionContext:aws:ecs:clusterName"    = var.name
  }
  fargate = [
    {
      Sid       = "FargateStorage"
      Effect    = "Allow"
      Principal = { Service = "fargate.amazonaws.com" }
      Action    = "kms:GenerateDataKeyWithoutPlaintext"
      Resource  = "*"
      Condition = { StringEquals = local.fargate_context }
    },
    {
      Sid       = "FargateGrants"
      Effect    = "Allow"
      Principal = { Service = "fargate.amazonaws.com" }
      Action    = "kms:CreateGrant"
      Resource  = "*"
      Condition = {
        StringEquals                = local.fargate_context
        "ForAllValues:StringEquals" = { "kms:GrantOperations" = ["Decrypt"] }
      }
    },
  ]
}

resource "aws_kms_key" "this" {
  description             = "Yamabiko ${var.name}: everything at rest"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.statements, [for statement in local.fargate : statement if var.fargate])
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}
