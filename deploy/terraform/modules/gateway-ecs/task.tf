locals {
  folder = "/var/lib/yamabiko" # the one folder of the image that its user may write to; a volume takes its owner from it
  logs = {
    logDriver = "awslogs"
    options = {
      awslogs-group         = aws_cloudwatch_log_group.gateway.name
      awslogs-region        = var.region
      awslogs-stream-prefix = "gateway"
    }
  }
  confined = {
    image                  = var.image
    user                   = "10001:10001"
    readonlyRootFilesystem = true
    privileged             = false
    linuxParameters        = { initProcessEnabled = true, capabilities = { add = [], drop = ["ALL"] } }
    mountPoints            = [{ sourceVolume = "work", containerPath = local.folder, readOnly = false }]
    logConfiguration       = local.logs
  }

  # The table of keys is a file for the gateway, and a secret for AWS: a first container turns the one into the other.
  tenants_file = "${local.folder}/tenants.toml"
  write_tenants = [
    "/opt/yamabiko/bin/python", "-I", "-c",
    "import os, pathlib; pathlib.Path('${local.tenants_file}').write_text(os.environ['TENANTS'], encoding='utf-8')",
  ]
  tenants = [for arn in var.tenants ? [var.tenants_secret_arn] : [] : merge(local.confined, {
    name        = "tenants"
    essential   = false
    entryPoint  = local.write_tenants
    command     = []
    environment = []
    secrets     = [{ name = "TENANTS", valueFrom = arn }]
  })]

  environment = merge(
    var.environment,
    { TMPDIR = local.folder, YAMABIKO_GATEWAY__PORT = tostring(var.port) },
    var.tenants ? { YAMABIKO_GATEWAY__TENANTS_PATH = local.tenants_file } : {},
  )
  gateway = merge(local.confined, {
    name         = "gateway"
    essential    = true
    command      = ["serve", "--workers", tostring(var.workers)]
    portMappings = [{ containerPort = var.port, hostPort = var.port, protocol = "tcp" }]
    environment  = [for name, value in local.environment : { name = name, value = value }]
    secrets      = [for name, arn in var.secrets : { name = name, valueFrom = arn }]
    stopTimeout  = 120 # longer than gateway.drain_seconds: what is under way is finished
    dependsOn    = [for container in local.tenants : { containerName = container.name, condition = "SUCCESS" }]
    healthCheck = {
      command = [
        "CMD", "/usr/local/bin/python3", "-IS", "-c",
        "from urllib.request import urlopen; urlopen('http://127.0.0.1:${var.port}/healthz', timeout=2)",
      ]
      interval = 10, timeout = 3, retries = 3, startPeriod = 60
    }
  })
}

resource "aws_ecs_task_definition" "gateway" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory_megabytes
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode(concat(local.tenants, [local.gateway]))

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }
  volume {
    name = "work"
  }
}
