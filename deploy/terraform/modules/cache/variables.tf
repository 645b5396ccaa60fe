variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "region" {
  description = "Region of the cluster."
  type        = string
}

variable "account_id" {
  description = "Account of the cluster."
  type        = string
}

variable "cache_name" {
  description = "Name of the cache within the cluster: its keys begin with it, and its user reaches no others."
  type        = string
  default     = "yamabiko"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{0,31}$", var.cache_name))
    error_message = "The cache's name is [a-z0-9][a-z0-9_-]{0,31}."
  }
}

variable "user_name" {
  description = "The user that the gateway signs in as, with IAM."
  type        = string
  default     = "yamabiko-gateway"
}

variable "engine_version" {
  description = "Version of Valkey."
  type        = string
  default     = "7.3"

  validation {
    condition     = contains(["7.2", "7.3"], var.engine_version)
    error_message = "Valkey 7.2 or 7.3: the parameter group is of the family memorydb_valkey7."
  }
}

variable "node_type" {
  description = "Type of the nodes. r6gd nodes have no vector search; t4g nodes can't be reserved."
  type        = string

  validation {
    condition     = can(regex("^db\\.(t4g\\.(small|medium)|r[67]g\\.(large|[0-9]*xlarge))$", var.node_type))
    error_message = "The node type must be a db.t4g, db.r6g or db.r7g: those have vector search."
  }
}

variable "replicas" {
  description = "Replicas beside the primary. Without one, answers survive a failure but nothing answers meanwhile."
  type        = number

  validation {
    condition     = var.replicas >= 0 && var.replicas <= 5
    error_message = "A shard has at most five replicas."
  }
}

variable "maxmemory_policy" {
  description = "What goes when memory is full."
  type        = string
  default     = "volatile-lru"

  validation {
    condition     = contains(["volatile-lru", "allkeys-lru"], var.maxmemory_policy)
    error_message = "volatile-lru (recommended) or allkeys-lru: under others a full cache takes no more answers."
  }
}

variable "snapshot_days" {
  description = "How long daily snapshots are kept; 0: none."
  type        = number
  default     = 7

  validation {
    condition     = var.snapshot_days >= 0 && var.snapshot_days <= 35
    error_message = "Snapshots are kept for at most 35 days."
  }
}

variable "final_snapshot" {
  description = "Whether a cluster that is removed leaves a snapshot."
  type        = bool
  default     = true
}

variable "restore_from" {
  description = "A snapshot that a new cluster begins with; empty: none."
  type        = string
  default     = ""
}

variable "maintenance_window" {
  description = "When AWS may work on it, in UTC."
  type        = string
  default     = "sun:18:00-sun:19:00"
}

variable "snapshot_window" {
  description = "When snapshots are made, in UTC."
  type        = string
  default     = "16:30-17:30"
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group that only the gateway reaches."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of what lies on disk and in snapshots."
  type        = string
}

variable "sns_topic_arn" {
  description = "Topic for what happens to the cluster, such as a failover; its policy must let MemoryDB publish. Null: none."
  type        = string
  default     = null
}

variable "replica_search" {
  description = "Whether searches go to replicas. Reads by key and writes go to the primary always."
  type        = bool
  default     = false
}
