variable "name" {
  description = "The deployment, and the function's name."
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

variable "package" {
  description = "What runs: a zip that deploy/lambda/build_zip.py has built, or an image in ECR."
  type = object({
    zip   = optional(string, "")
    image = optional(string, "")
  })
}

variable "runtime" {
  description = "Python of a zip; SnapStart takes 3.12 and newer."
  type        = string
  default     = "python3.13"
}

variable "architecture" {
  description = "Processor: arm64 or x86_64. A zip is built for one of them."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "arm64 or x86_64."
  }
}

variable "memory_megabytes" {
  description = "Memory of the function; its share of a processor follows from it."
  type        = number
  default     = 1024
}

variable "timeout_seconds" {
  description = "How long one request may take: at most 30 behind an HTTP API, at most 900 with streams."
  type        = number
  default     = 29

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 900
    error_message = "From 1 to 900 seconds."
  }
}

variable "concurrency" {
  description = "Requests at a time at most; -1: as the account has it. Each holds connections to the cluster."
  type        = number
  default     = 50
}

variable "provisioned_concurrency" {
  description = "Instances that are always warm; 0: none."
  type        = number
  default     = 0
}

variable "snap_start" {
  description = "Whether new instances begin from a snapshot of one that has started."
  type        = bool
  default     = false
}

variable "api" {
  description = "http: an HTTP API, whole answers. rest: a REST API that streams."
  type        = string
  default     = "http"

  validation {
    condition     = contains(["http", "rest"], var.api)
    error_message = "http or rest."
  }
}

variable "authorization" {
  description = "AWS_IAM: callers sign their requests. NONE: the gateway's table of keys alone decides."
  type        = string
  default     = "AWS_IAM"

  validation {
    condition     = contains(["AWS_IAM", "NONE"], var.authorization)
    error_message = "AWS_IAM or NONE."
  }
}

variable "requests_per_second" {
  description = "What the edge lets through in the long run."
  type        = number
  default     = 50
}

variable "burst" {
  description = "What it lets through at once."
  type        = number
  default     = 100
}

variable "waf" {
  description = "Whether web_acl_arn protects the edge: REST APIs only, as AWS WAF has it."
  type        = bool
  default     = false
}

variable "web_acl_arn" {
  description = "The web ACL, where there is one."
  type        = string
  default     = null
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
  description = "Policy that lets it read its secrets."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group of the gateway."
  type        = string
}

variable "kms_key_arn" {
  description = "Key for logs and settings."
  type        = string
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
}

variable "warm_up" {
  description = "What is run after each deployment: the zip that has the handler, and the arguments of `yamabiko warm`."
  type = object({
    zip       = string
    arguments = list(string)
  })
  default = null
}
