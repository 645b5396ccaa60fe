# The deploy hook: when a deployment is done, a task answers the questions of a file and stores the answers
# (docs/warm-up.md). What is stored already is skipped. The first deployment of all raises the event as well.

locals {
  warm_event = {
    source        = local.blue_green ? ["aws.codedeploy"] : ["aws.ecs"]
    "detail-type" = [local.blue_green ? "CodeDeploy Deployment State-change Notification" : "ECS Deployment State Change"]
    detail = merge(
      local.blue_green ? { application = [var.name], state = ["SUCCESS"] } : {},
      local.blue_green ? {} : { eventName = ["SERVICE_DEPLOYMENT_COMPLETED"] },
    )
  }
  # Of ECS the event names the service; of CodeDeploy its detail names the application.
  warm_resources = local.blue_green ? [] : ["arn:aws:ecs:${var.region}:${var.account_id}:service/${var.name}/${var.name}"]
  warming        = length(var.warm_up) > 0
}

resource "aws_ecs_task_definition" "warm" {
  count                    = local.warming ? 1 : 0
  family                   = "${var.name}-warm-up"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 512
  memory                   = 1024
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions = jsonencode([merge(local.confined, {
    name        = "warm-up"
    essential   = true
    command     = concat(["warm"], var.warm_up)
    environment = [for name, value in merge(var.environment, { TMPDIR = local.folder }) : { name = name, value = value }]
    secrets     = [for name, arn in var.secrets : { name = name, valueFrom = arn }]
  })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }
  volume {
    name = "work"
  }
}

resource "aws_cloudwatch_event_rule" "deployed" {
  count         = local.warming ? 1 : 0
  name          = "${var.name}-deployed"
  description   = "A new version of the gateway is there: warm the cache"
  event_pattern = jsonencode(merge(local.warm_event, { for resources in [local.warm_resources] : "resources" => resources if length(resources) > 0 }))
}

resource "aws_cloudwatch_event_target" "warm" {
  count    = local.warming ? 1 : 0
  rule     = aws_cloudwatch_event_rule.deployed[0].name
  arn      = aws_ecs_cluster.this.arn
  role_arn = aws_iam_role.events[0].arn

  ecs_target {
    task_definition_arn = aws_ecs_task_definition.warm[0].arn
    task_count          = 1
    launch_type         = "FARGATE"
    network_configuration {
      subnets          = var.private_subnet_ids
      security_groups  = [var.security_group_id]
      assign_public_ip = false
    }
  }
}

resource "aws_iam_role" "events" {
  count              = local.warming ? 1 : 0
  name               = "${var.name}-events"
  assume_role_policy = local.assume["events"]
}

resource "aws_iam_role_policy" "events" {
  count = local.warming ? 1 : 0
  name  = "run"
  role  = aws_iam_role.events[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Run"
        Effect = "Allow"
        Action = "ecs:RunTask"
        # Any revision of this family, on this cluster.
        Resource  = "arn:aws:ecs:${var.region}:${var.account_id}:task-definition/${var.name}-warm-up:*"
        Condition = { ArnEquals = { "ecs:cluster" = "arn:aws:ecs:${var.region}:${var.account_id}:cluster/${var.name}" } }
      },
      {
        Sid    = "Roles"
        Effect = "Allow"
        Action = "iam:PassRole"
        Resource = [
          "arn:aws:iam::${var.account_id}:role/${var.name}-task",
          "arn:aws:iam::${var.account_id}:role/${var.name}-execution",
        ]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
  })
}
