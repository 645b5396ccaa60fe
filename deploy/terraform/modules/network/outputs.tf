output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets of the gateway, the cache and the endpoints."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "public_subnet_ids" {
  description = "Subnets of a public load balancer; empty without one."
  value       = [for zone in var.zones : aws_subnet.public[zone].id if var.public_edge]
}

output "gateway_security_group_id" {
  description = "Group of the gateway."
  value       = aws_security_group.gateway.id
}

output "cache_security_group_id" {
  description = "Group of MemoryDB."
  value       = aws_security_group.cache.id
}

output "edge_security_group_id" {
  description = "Group of the load balancer; null without one."
  value       = one(aws_security_group.edge[*].id)
}
