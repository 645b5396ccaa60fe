output "url" {
  description = "Where the gateway answers."
  value       = local.ecs ? module.gateway_ecs[0].url : module.gateway_lambda[0].url
}

output "cache_url" {
  description = "The store, as the setting url takes it; reached from within the network only."
  value       = module.cache.url
}

output "secrets" {
  description = "Secrets that wait for a value: `aws secretsmanager put-secret-value`."
  value       = local.secret_arns
}

output "topic_arn" {
  description = "Where alarms, budget alerts and reports go."
  value       = aws_sns_topic.alerts.arn
}

output "deployment" {
  description = "For blue/green: `aws deploy create-deployment --cli-input-json` takes this. Null otherwise."
  value       = local.ecs ? module.gateway_ecs[0].deployment : null
}
