output "url" {
  description = "Where the gateway answers."
  value       = one(concat(aws_apigatewayv2_api.http[*].api_endpoint, aws_api_gateway_stage.rest[*].invoke_url))
}

output "function_name" {
  description = "The function, as its metrics name it."
  value       = aws_lambda_function.gateway.function_name
}

output "log_group" {
  description = "Where the gateway logs."
  value       = aws_cloudwatch_log_group.gateway.name
}
