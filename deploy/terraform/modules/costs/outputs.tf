output "budget" {
  description = "Name of the budget."
  value       = aws_budgets_budget.monthly.name
}

output "report_function" {
  description = "The function that reports; null without one."
  value       = one(aws_lambda_function.report[*].function_name)
}
