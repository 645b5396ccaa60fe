# What the gateway may do in the account: connect to one cluster as one user, call the models that are named, read its own
# secrets. Nothing else, and no "*" as resource.

locals {
  bedrock = "arn:aws:bedrock:${var.region}:${var.account_id}"

  on_demand = { for name, model in var.models : name => model if model.profile == "" }
  profiled  = { for name, model in var.models : name => model if model.profile != "" }
  profiles  = { for name, model in local.profiled : name => "${local.bedrock}:inference-profile/${model.profile}.${model.id}" }
  generate  = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]

  connect = {
    Sid      = "Connect"
    Effect   = "Allow"
    Action   = "memorydb:connect"
    Resource = [var.cluster_arn, var.user_arn] # both are asked
  }
  embed = {
    Sid      = "Embed"
    Effect   = "Allow"
    Action   = "bedrock:InvokeModel"
    Resource = "arn:aws:bedrock:${var.region}::foundation-model/${var.embedding_model}"
  }
  models = [for name, model in local.on_demand : {
    Sid      = "Model${title(name)}"
    Effect   = "Allow"
    Action   = local.generate
    Resource = "arn:aws:bedrock:${var.region}::foundation-model/${model.id}"
  }]
  through_profiles = [for name, model in local.profiled : {
    Sid      = "Profile${title(name)}"
    Effect   = "Allow"
    Action   = local.generate
    Resource = local.profiles[name]
  }]
  # An inference profile sends a call on to other regions: the model is asked for in each of them, and only so.
  behind_profiles = [for name, model in local.profiled : {
    Sid       = "Behind${title(name)}"
    Effect    = "Allow"
    Action    = local.generate
    Resource  = [for region in model.regions : "arn:aws:bedrock:${region}::foundation-model/${model.id}"]
    Condition = { StringLike = { "bedrock:InferenceProfileArn" = local.profiles[name] } }
  }]
  knowledge = [for bases in [var.knowledge_bases] : {
    Sid      = "KnowledgeBases"
    Effect   = "Allow"
    Action   = ["bedrock:Retrieve", "bedrock:RetrieveAndGenerate"]
    Resource = [for base in bases : "${local.bedrock}:knowledge-base/${base}"]
  } if length(bases) > 0]
  questions = [for object in [var.questions] : {
    Sid      = "Questions"
    Effect   = "Allow"
    Action   = "s3:GetObject"
    Resource = "arn:aws:s3:::${object}"
  } if object != ""]
}

resource "aws_iam_policy" "gateway" {
  name        = "${var.name}-gateway"
  description = "What the gateway may do"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [local.connect, local.embed],
      local.models, local.through_profiles, local.behind_profiles, local.knowledge, local.questions,
    )
  })
}

# Apart, as in ECS it is not the gateway that reads them but who starts it.
resource "aws_iam_policy" "secrets" {
  count       = length(var.secret_arns) > 0 ? 1 : 0
  name        = "${var.name}-secrets"
  description = "The gateway's secrets"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.secret_arns
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.amazonaws.com" } }
      },
    ]
  })
}
