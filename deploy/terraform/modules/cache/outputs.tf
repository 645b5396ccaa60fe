output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_memorydb_cluster.this.name
}

output "cluster_arn" {
  description = "ARN of the cluster, for memorydb:connect."
  value       = "arn:aws:memorydb:${var.region}:${var.account_id}:cluster/${var.name}"
}

output "user_arn" {
  description = "ARN of the gateway's user, for memorydb:connect."
  value       = "arn:aws:memorydb:${var.region}:${var.account_id}:user/${var.user_name}"
}

output "url" {
  description = "The store's address, as the setting url takes it."
  value = format(
    "memorydb://%s@%s:%d?auth=iam&region=%s&cluster_name=%s&name=%s%s",
    var.user_name, aws_memorydb_cluster.this.cluster_endpoint[0].address, aws_memorydb_cluster.this.cluster_endpoint[0].port,
    var.region, var.name, var.cache_name, var.replica_search ? "&replica_search=true" : "",
  )
}
