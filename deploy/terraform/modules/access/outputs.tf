output "policy_arn" {
  description = "Policy of the gateway's own role."
  value       = aws_iam_policy.gateway.arn
}

output "secrets_policy_arn" {
  description = "Policy of whoever reads the secrets; null without secrets."
  value       = one(aws_iam_policy.secrets[*].arn)
}

output "upstreams" {
  description = "The setting gateway.upstreams: each model under its name."
  value = join(",", [for name, model in var.models :
    "${name}=bedrock:${model.profile == "" ? "" : "${model.profile}."}${model.id}"
  ])
}
