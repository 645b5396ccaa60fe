output "url" {
  description = "Where the gateway answers; your DNS name for the certificate points there."
  value       = "https://${aws_lb.this.dns_name}"
}

output "load_balancer" {
  description = "The load balancer, as its metrics name it."
  value       = aws_lb.this.arn_suffix
}

output "target_groups" {
  description = "The target groups, as their metrics name them."
  value       = { for colour, group in aws_lb_target_group.gateway : colour => group.arn_suffix }
}

output "cluster" {
  description = "The cluster, as its metrics name it."
  value       = aws_ecs_cluster.this.name
}

output "service" {
  description = "The service, as its metrics name it."
  value       = local.service
}

output "log_group" {
  description = "Where the gateway logs."
  value       = aws_cloudwatch_log_group.gateway.name
}

output "deployment" {
  description = "What CodeDeploy is given for a blue/green deployment of the current task definition; null if rolling."
  value = local.blue_green ? jsonencode({
    applicationName     = var.name
    deploymentGroupName = "gateway"
    revision = {
      revisionType = "AppSpecContent"
      appSpecContent = {
        content = jsonencode({
          version = "0.0"
          Resources = [{
            TargetService = {
              Type = "AWS::ECS::Service"
              Properties = {
                TaskDefinition   = aws_ecs_task_definition.gateway.arn
                LoadBalancerInfo = { ContainerName = "gateway", ContainerPort = var.port }
              }
            }
          }]
        })
      }
    }
  }) : null
}
