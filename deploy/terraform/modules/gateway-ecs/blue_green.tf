# Blue/green by CodeDeploy: the new tasks get the traffic when they are healthy, the old ones stay for a while, and an
# alarm turns it all back. `terraform output` has the command that begins a deployment.

resource "aws_codedeploy_app" "this" {
  count            = local.blue_green ? 1 : 0
  name             = var.name
  compute_platform = "ECS"
}

resource "aws_codedeploy_deployment_group" "this" {
  count                  = local.blue_green ? 1 : 0
  app_name               = aws_codedeploy_app.this[0].name
  deployment_group_name  = "gateway"
  deployment_config_name = var.traffic_shift
  service_role_arn       = aws_iam_role.codedeploy[0].arn

  deployment_style {
    deployment_option = "WITH_TRAFFIC_CONTROL"
    deployment_type   = "BLUE_GREEN"
  }
  blue_green_deployment_config {
    deployment_ready_option {
      action_on_timeout = "CONTINUE_DEPLOYMENT"
    }
    terminate_blue_instances_on_deployment_success {
      action                           = "TERMINATE"
      termination_wait_time_in_minutes = 30
    }
  }
  auto_rollback_configuration {
    enabled = true
    events  = ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"]
  }
  alarm_configuration {
    enabled = length(var.rollback_alarms) > 0
    alarms  = var.rollback_alarms
  }
  ecs_service {
    cluster_name = aws_ecs_cluster.this.name
    service_name = aws_ecs_service.blue_green[0].name
  }
  load_balancer_info {
    target_group_pair_info {
      prod_traffic_route {
        listener_arns = [aws_lb_listener.https.arn]
      }
      target_group {
        name = aws_lb_target_group.gateway["blue"].name
      }
      target_group {
        name = aws_lb_target_group.gateway["green"].name
      }
    }
  }
}

resource "aws_iam_role" "codedeploy" {
  count              = local.blue_green ? 1 : 0
  name               = "${var.name}-codedeploy"
  assume_role_policy = local.assume["codedeploy"]
}

# AWS's own policy for this: what CodeDeploy needs changes with CodeDeploy.
resource "aws_iam_role_policy_attachment" "codedeploy" {
  count      = local.blue_green ? 1 : 0
  role       = aws_iam_role.codedeploy[0].name
  policy_arn = "arn:aws:iam::aws:policy/AWSCodeDeployRoleForECS"
}
