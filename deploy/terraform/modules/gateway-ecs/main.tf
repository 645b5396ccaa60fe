# The gateway on Fargate, behind a load balancer that lets events through as they come.

resource "aws_cloudwatch_log_group" "gateway" {
  name              = "/yamabiko/${var.name}/gateway"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
  configuration {
    managed_storage_configuration {
      fargate_ephemeral_storage_kms_key_id = var.kms_key_arn
    }
  }
}

locals {
  blue_green = var.deployment == "blue-green"
  service    = one(concat(aws_ecs_service.rolling[*].name, aws_ecs_service.blue_green[*].name))
}

resource "aws_ecs_service" "rolling" {
  count                              = local.blue_green ? 0 : 1
  name                               = var.name
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.gateway.arn
  launch_type                        = "FARGATE"
  platform_version                   = "LATEST"
  desired_count                      = var.tasks.least
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = 60
  propagate_tags                     = "SERVICE"
  enable_execute_command             = false

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  network_configuration {
    subnets          = var.private_subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.gateway["blue"].arn
    container_name   = "gateway"
    container_port   = var.port
  }

  lifecycle {
    ignore_changes = [desired_count] # autoscaling's
  }
  depends_on = [aws_lb_listener.https, aws_iam_role_policy.execution, aws_iam_role_policy_attachment.task]
}

# CodeDeploy makes new revisions of this one: from the first deployment on, task definition and target group are its own.
resource "aws_ecs_service" "blue_green" {
  count                             = local.blue_green ? 1 : 0
  name                              = var.name
  cluster                           = aws_ecs_cluster.this.id
  task_definition                   = aws_ecs_task_definition.gateway.arn
  launch_type                       = "FARGATE"
  platform_version                  = "LATEST"
  desired_count                     = var.tasks.least
  health_check_grace_period_seconds = 60
  propagate_tags                    = "SERVICE"
  enable_execute_command            = false

  deployment_controller {
    type = "CODE_DEPLOY"
  }
  network_configuration {
    subnets          = var.private_subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.gateway["blue"].arn
    container_name   = "gateway"
    container_port   = var.port
  }

  lifecycle {
    ignore_changes = [desired_count, task_definition, load_balancer]
  }
  depends_on = [aws_lb_listener.https, aws_iam_role_policy.execution, aws_iam_role_policy_attachment.task]
}
