variable "name" {
  description = "The deployment: cluster, service and load balancer; at most 26 letters, as target groups have 32."
  type        = string
}

variable "region" {
  description = "Region of the deployment."
  type        = string
}

variable "account_id" {
  description = "Account of the deployment."
  type        = string
}

variable "image" {
  description = "The gateway's image in ECR, by digest or by a tag that is never moved."
  type        = string

  validation {
    condition     = !endswith(var.image, ":latest") && can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9._-]+)$", var.image))
    error_message = "Name the image by its digest (@sha256:...) or a tag other than latest."
  }
}

variable "repository" {
  description = "Name of its repository in this account's ECR."
  type        = string
}

variable "architecture" {
  description = "Processor that the image is for: ARM64 or X86_64."
  type        = string
  default     = "ARM64"

  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "ARM64 or X86_64."
  }
}

variable "cpu" {
  description = "Processor units of a task; 1024 are one core."
  type        = number
  default     = 1024
}

variable "memory_megabytes" {
  description = "Memory of a task."
  type        = number
  default     = 2048
}

variable "workers" {
  description = "Processes of a task."
  type        = number
  default     = 1
}

variable "tasks" {
  description = "How many tasks there are at least and at most."
  type = object({
    least = number
    most  = number
  })
  default = { least = 2, most = 10 }

  validation {
    condition     = var.tasks.least >= 1 && var.tasks.most >= var.tasks.least
    error_message = "At least one task, and at most no fewer than at least."
  }
}

variable "target_cpu_percent" {
  description = "Processor use that autoscaling aims at."
  type        = number
  default     = 60
}

variable "port" {
  description = "Port of the gateway."
  type        = number
  default     = 8080
}

variable "deployment" {
  description = "rolling: ECS replaces tasks, and turns back what does not start. blue-green: by CodeDeploy."
  type        = string
  default     = "rolling"

  validation {
    condition     = contains(["rolling", "blue-green"], var.deployment)
    error_message = "rolling or blue-green."
  }
}

variable "traffic_shift" {
  description = "How CodeDeploy moves the traffic."
  type        = string
  default     = "CodeDeployDefault.ECSLinear10PercentEvery1Minutes"
}

variable "rollback_alarms" {
  description = "Names of alarms that turn a blue/green deployment back."
  type        = list(string)
  default     = []
}

variable "public" {
  description = "Whether the internet reaches the load balancer."
  type        = bool
  default     = false
}

variable "web_acl" {
  description = "Whether web_acl_arn protects it."
  type        = bool
  default     = false
}

variable "web_acl_arn" {
  description = "The web ACL, where there is one."
  type        = string
  default     = null
}

variable "certificate_arn" {
  description = "Certificate in ACM for the load balancer: there is no listener without TLS."
  type        = string

  validation {
    condition     = can(regex("^arn:aws:acm:[a-z0-9-]+:[0-9]{12}:certificate/", var.certificate_arn))
    error_message = "Name a certificate in ACM by its ARN."
  }
}

variable "idle_seconds" {
  description = "How long a connection may be silent, such as a stream whose model thinks."
  type        = number
  default     = 300
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be removed."
  type        = bool
  default     = true
}

variable "access_log_bucket" {
  description = "S3 bucket for the load balancer's access logs; empty: the gateway's own are enough."
  type        = string
  default     = ""
}

variable "environment" {
  description = "Settings of the gateway."
  type        = map(string)
}

variable "secrets" {
  description = "Settings that come from Secrets Manager: variable to ARN."
  type        = map(string)
  default     = {}
}

variable "tenants" {
  description = "Whether there is a table of keys."
  type        = bool
  default     = false
}

variable "tenants_secret_arn" {
  description = "Secret that holds it (tenants.toml)."
  type        = string
  default     = ""
}

variable "policy_arn" {
  description = "What the gateway may do."
  type        = string
}

variable "secrets_policy_arn" {
  description = "Policy that lets ECS read the secrets; null without secrets."
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "private_subnet_ids" {
  description = "Subnets of the tasks."
  type        = list(string)
}

variable "public_subnet_ids" {
  description = "Subnets of a public load balancer."
  type        = list(string)
  default     = []
}

variable "security_group_id" {
  description = "Group of the gateway."
  type        = string
}

variable "edge_security_group_id" {
  description = "Group of the load balancer."
  type        = string
}

variable "kms_key_arn" {
  description = "Key for logs and disks."
  type        = string
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
}

variable "warm_up" {
  description = "Arguments of `yamabiko warm` that fill the cache after a deployment; empty: none."
  type        = list(string)
  default     = []
}
