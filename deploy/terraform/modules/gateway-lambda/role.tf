locals {
  assume = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
  log_groups = [local.log_group, local.warm_log_group]
  run = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [for group in local.log_groups : "arn:aws:logs:${var.region}:${var.account_id}:log-group:${group}:*"]
      },
      {
        Sid    = "Network"
        Effect = "Allow"
        Action = [
          "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface",
          "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", "ec2:DescribeSubnets",
        ]
        Resource = "*" # AWS requires it: Lambda checks these rights without naming an interface
      },
    ]
  })
}

resource "aws_iam_role" "function" {
  name               = "${var.name}-function"
  assume_role_policy = local.assume
}

resource "aws_iam_role_policy" "run" {
  name   = "run"
  role   = aws_iam_role.function.id
  policy = local.run
}

# Its settings are encrypted, and read by the function's own role.
resource "aws_iam_role_policy" "settings" {
  name = "settings"
  role = aws_iam_role.function.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "Settings"
      Effect   = "Allow"
      Action   = "kms:Decrypt"
      Resource = var.kms_key_arn
    }]
  })
}

resource "aws_iam_role_policy_attachment" "gateway" {
  role       = aws_iam_role.function.name
  policy_arn = var.policy_arn
}

resource "aws_iam_role_policy_attachment" "secrets" {
  count      = local.guarded ? 1 : 0
  role       = aws_iam_role.function.name
  policy_arn = var.secrets_policy_arn
}
