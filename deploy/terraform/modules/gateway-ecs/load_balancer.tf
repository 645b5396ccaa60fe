resource "aws_lb" "this" {
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = !var.public
  subnets                    = var.public ? var.public_subnet_ids : var.private_subnet_ids
  security_groups            = [var.edge_security_group_id]
  idle_timeout               = var.idle_seconds
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "strictest"
  enable_deletion_protection = var.deletion_protection

  dynamic "access_logs" {
    for_each = var.access_log_bucket == "" ? [] : [var.access_log_bucket]
    content {
      bucket  = access_logs.value
      prefix  = var.name
      enabled = true
    }
  }

  lifecycle {
    precondition {
      condition     = !var.public || var.web_acl
      error_message = "A load balancer that the internet reaches stands behind a web ACL: waf = true."
    }
    precondition {
      condition     = length(var.private_subnet_ids) >= 2
      error_message = "A load balancer needs two availability zones."
    }
  }
}

# Blue and green: a rolling service uses the first alone.
resource "aws_lb_target_group" "gateway" {
  for_each             = local.blue_green ? toset(["blue", "green"]) : toset(["blue"])
  name                 = "${var.name}-${each.key}"
  vpc_id               = var.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.port
  deregistration_delay = 60
  slow_start           = 30

  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway["blue"].arn
  }

  lifecycle {
    ignore_changes = [default_action] # CodeDeploy moves it between the two groups
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count        = var.web_acl ? 1 : 0
  resource_arn = aws_lb.this.arn
  web_acl_arn  = var.web_acl_arn
}
