# Who may speak to whom: callers -> edge -> gateway -> cache and endpoints. Groups name each other, never addresses.

resource "aws_security_group" "gateway" {
  name        = local.gateway
  description = "The gateway: Lambda functions or tasks"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = local.gateway }
}

resource "aws_security_group" "cache" {
  name        = "${var.name}-cache"
  description = "MemoryDB"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-cache" }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of AWS services"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-endpoints" }
}

resource "aws_security_group" "edge" {
  count       = var.edge ? 1 : 0
  name        = "${var.name}-edge"
  description = "The load balancer"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-edge" }
}

resource "aws_vpc_security_group_ingress_rule" "cache_from_gateway" {
  security_group_id            = aws_security_group.cache.id
  referenced_security_group_id = aws_security_group.gateway.id
  description                  = "The gateway, and nobody else"
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_vpc_security_group_egress_rule" "gateway_to_cache" {
  security_group_id            = aws_security_group.gateway.id
  referenced_security_group_id = aws_security_group.cache.id
  description                  = "MemoryDB"
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_gateway" {
  security_group_id            = aws_security_group.endpoints.id
  referenced_security_group_id = aws_security_group.gateway.id
  description                  = "The gateway"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "gateway_to_endpoints" {
  security_group_id            = aws_security_group.gateway.id
  referenced_security_group_id = aws_security_group.endpoints.id
  description                  = "AWS services"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "gateway_to_s3" {
  count             = length(var.buckets) > 0 ? 1 : 0
  security_group_id = aws_security_group.gateway.id
  prefix_list_id    = aws_vpc_endpoint.s3[0].prefix_list_id
  description       = "S3, through its endpoint"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "edge_from_callers" {
  for_each          = var.edge ? var.callers : []
  security_group_id = aws_security_group.edge[0].id
  cidr_ipv4         = each.value
  description       = "Callers"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "edge_to_gateway" {
  count                        = var.edge ? 1 : 0
  security_group_id            = aws_security_group.edge[0].id
  referenced_security_group_id = aws_security_group.gateway.id
  description                  = "The gateway"
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}

resource "aws_vpc_security_group_ingress_rule" "gateway_from_edge" {
  count                        = var.edge ? 1 : 0
  security_group_id            = aws_security_group.gateway.id
  referenced_security_group_id = aws_security_group.edge[0].id
  description                  = "The load balancer, and nobody else"
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}
