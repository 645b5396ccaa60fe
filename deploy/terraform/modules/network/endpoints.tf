# Endpoints are for this account's callers only, whatever their roles allow. "*" stands where an endpoint's policy takes
# the caller's own rights as the bound.

locals {
  endpoint_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "*"
      Resource  = "*"
      Condition = local.of_account
    }]
  })
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = var.endpoints
  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  policy              = local.endpoint_policy
  tags                = { Name = "${var.name}-${each.key}" }
}

# S3 has an endpoint that costs nothing: layers of images from ECR, and the questions of a warm-up.
resource "aws_vpc_endpoint" "s3" {
  count             = length(var.buckets) > 0 ? 1 : 0
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [aws_route_table.private.id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = ["s3:GetObject", "s3:ListBucket"]
      Resource  = flatten([for bucket in var.buckets : ["arn:aws:s3:::${bucket}", "arn:aws:s3:::${bucket}/*"]])
    }]
  })
  tags = { Name = "${var.name}-s3" }
}
