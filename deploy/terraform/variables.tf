variable "name" {
  description = "The deployment: begins every name, and is the dimension Deployment of all metrics."
  type        = string
  default     = "yamabiko"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name)) && !endswith(var.name, "-") && !strcontains(var.name, "--")
    error_message = "The name is at most 20 small letters, digits and single hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
}

variable "account_id" {
  description = "Account of everything, twelve digits."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account has twelve digits."
  }
}

variable "tags" {
  description = "Further tags of everything."
  type        = map(string)
  default     = {}
}

# --- network

variable "cidr" {
  description = "Addresses of the network."
  type        = string
  default     = "10.42.0.0/16"
}

variable "zones" {
  description = "Availability zones: two, or one for development with Lambda."
  type        = list(string)
}

variable "endpoints" {
  description = "AWS services reached from within; null: those that README.md lists for the gateway. Each costs by the hour and zone."
  type        = list(string)
  default     = null
}

# --- cache

variable "cache_name" {
  description = "Name of the cache within the cluster."
  type        = string
  default     = "yamabiko"
}

variable "node_type" {
  description = "Type of the cluster's nodes: r6gd nodes have no vector search, t4g nodes can't be reserved."
  type        = string

  validation {
    condition     = can(regex("^db\\.(t4g\\.(small|medium)|r[67]g\\.(large|[0-9]*xlarge))$", var.node_type))
    error_message = "The node type must be a db.t4g, db.r6g or db.r7g: those have vector search."
  }
}

variable "replicas" {
  description = "Replicas beside the primary."
  type        = number
}

variable "replica_search" {
  description = "Whether searches go to replicas."
  type        = bool
  default     = false
}

variable "snapshot_days" {
  description = "How long daily snapshots are kept."
  type        = number
  default     = 7
}

variable "final_snapshot" {
  description = "Whether what is removed leaves a last snapshot, and the load balancer is protected from removal."
  type        = bool
  default     = true
}

variable "restore_from" {
  description = "A snapshot that a new cluster begins with."
  type        = string
  default     = ""
}

# --- models

variable "embedding" {
  description = "Who embeds: titan or cohere, the foundation model's id, and the size of its vectors."
  type = object({
    kind       = optional(string, "titan")
    model      = optional(string, "amazon.titan-embed-text-v2:0")
    dimensions = optional(number, 1024)
  })
  default = {}

  validation {
    condition     = !startswith(var.embedding.model, "amazon.titan-embed-text-v2") || contains([256, 512, 1024], var.embedding.dimensions)
    error_message = "Titan Text Embeddings V2 has 256, 512 or 1024 dimensions."
  }
}

variable "models" {
  description = "Who answers, by the upstream's name: see modules/access."
  type = map(object({
    id      = string
    profile = optional(string, "")
    regions = optional(list(string), [])
  }))

  validation {
    condition     = length(var.models) > 0
    error_message = "Name at least one model."
  }
}

variable "knowledge_bases" {
  description = "Ids of knowledge bases that the gateway's role may ask."
  type        = list(string)
  default     = []
}

# --- gateway

variable "gateway" {
  description = "lambda or ecs."
  type        = string

  validation {
    condition     = contains(["lambda", "ecs"], var.gateway)
    error_message = "lambda or ecs."
  }
}

variable "package" {
  description = "What runs: for lambda a zip or an image, for ecs an image."
  type = object({
    zip   = optional(string, "")
    image = optional(string, "")
  })

  validation {
    condition     = var.gateway != "ecs" || var.package.image != ""
    error_message = "ECS runs an image: package = { image = \"...\" }."
  }
}

variable "repository" {
  description = "Name of the image's repository in this account's ECR, for ecs."
  type        = string
  default     = "yamabiko"
}

variable "architecture" {
  description = "arm64 or x86_64: what zip and image are built for."
  type        = string
  default     = "arm64"
}

variable "settings" {
  description = "Further settings of the gateway, such as { YAMABIKO_POLICY__TTL_SECONDS = \"1d\" }. No secrets."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : startswith(name, "YAMABIKO_") && !can(regex("KEY", name))])
    error_message = "Settings begin with YAMABIKO_; keys are secrets, and named in the variable secrets."
  }
}

variable "secrets" {
  description = "Settings that come from Secrets Manager, such as [\"YAMABIKO_SIGNING_KEYS\"]."
  type        = set(string)
  default     = []
}

variable "tenants" {
  description = "Whether the gateway has a table of keys, as a secret. Without one each credential is a tenant of its own."
  type        = bool
  default     = true

  validation { # behind API Gateway a credential may be a signature, which no two requests share: nothing would be a hit
    condition     = var.tenants || (var.gateway == "ecs" && !var.public)
    error_message = "Only a private load balancer goes without a table of keys: tenants = true."
  }
}

variable "memory_megabytes" {
  description = "Memory of the function or of a task."
  type        = number
  default     = 1024
}

variable "waf" {
  description = "Whether AWS WAF stands before the gateway: with ecs, or with lambda and api = \"rest\"."
  type        = bool
  default     = false

  validation {
    condition     = !var.waf || var.gateway == "ecs" || var.api == "rest"
    error_message = "AWS WAF does not stand before HTTP APIs: api = \"rest\"."
  }
}

# --- gateway on Lambda

variable "api" {
  description = "http: whole answers within 30 seconds. rest: streams."
  type        = string
  default     = "http"
}

variable "authorization" {
  description = "AWS_IAM: callers sign their requests. NONE: the table of keys decides."
  type        = string
  default     = "AWS_IAM"
}

variable "timeout_seconds" {
  description = "How long one request may take."
  type        = number
  default     = 29
}

variable "concurrency" {
  description = "Requests at a time at most."
  type        = number
  default     = 50
}

variable "provisioned_concurrency" {
  description = "Instances that are always warm."
  type        = number
  default     = 0
}

variable "snap_start" {
  description = "Whether instances begin from a snapshot."
  type        = bool
  default     = false
}

# --- gateway on ECS

variable "cpu" {
  description = "Processor units of a task."
  type        = number
  default     = 1024
}

variable "tasks" {
  description = "Tasks at least and at most."
  type = object({
    least = number
    most  = number
  })
  default = { least = 2, most = 10 }
}

variable "deployment" {
  description = "rolling or blue-green."
  type        = string
  default     = "rolling"
}

variable "public" {
  description = "Whether the internet reaches the load balancer."
  type        = bool
  default     = false
}

variable "callers" {
  description = "IPv4 blocks that may call the load balancer."
  type        = set(string)
  default     = []

  validation {
    condition     = var.gateway != "ecs" || length(var.callers) > 0
    error_message = "Say who may call the load balancer: callers = [\"10.0.0.0/8\"]."
  }
  validation {
    condition     = var.public || !contains(var.callers, "0.0.0.0/0")
    error_message = "All addresses are for a public load balancer only."
  }
}

variable "certificate_arn" {
  description = "Certificate in ACM for the load balancer."
  type        = string
  default     = ""
}

variable "access_log_bucket" {
  description = "S3 bucket for the load balancer's access logs; empty: none."
  type        = string
  default     = ""
}

# --- deploy hook

variable "warm_up" {
  description = "Questions (BUCKET/KEY) that are answered after each deployment; a request's body as clients send it (JSON); whose answers they are; further arguments of `yamabiko warm`. docs/warm-up.md."
  type = object({
    questions = optional(string, "")
    like      = optional(string, "")
    tenant    = optional(string, "")
    arguments = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = var.warm_up.questions == "" || can(regex("^[a-z0-9.-]{3,63}/[^*?]+$", var.warm_up.questions))
    error_message = "Name the questions as BUCKET/KEY."
  }
  validation {
    condition     = var.warm_up.questions == "" || can(jsondecode(var.warm_up.like).model)
    error_message = "Say how the questions are asked: like = jsonencode({ model = \"any\", max_tokens = 500 })."
  }
  validation {
    condition     = var.warm_up.questions == "" || (var.warm_up.tenant != "") == var.tenants
    error_message = "With a table of keys the answers are a tenant's: tenant = \"...\"."
  }
  validation {
    condition     = var.warm_up.questions == "" || var.gateway == "ecs" || var.package.zip != ""
    error_message = "With lambda the warm-up is a function of the zip."
  }
}

# --- alarms, costs

variable "mails" {
  description = "Addresses that get alarms, budget alerts and reports; each confirms once."
  type        = set(string)
  default     = []
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
}

variable "min_hit_percent" {
  description = "Least hit rate of an hour, percent."
  type        = number
  default     = 20
}

variable "min_requests" {
  description = "Requests that an hour must have for its hit rate to count."
  type        = number
  default     = 20
}

variable "p99_seconds" {
  description = "What 99 of 100 requests must not exceed."
  type        = number
  default     = 20
}

variable "max_error_percent" {
  description = "policy.max_error_rate in percent: the alarm on wrong answers."
  type        = number
  default     = 5
}

variable "monthly_usd" {
  description = "The month's budget in USD."
  type        = number
}

variable "cost_filters" {
  description = "What the budget counts; empty: the whole account."
  type        = map(list(string))
  default     = {}
}

variable "anomaly_usd" {
  description = "Excess in USD from which an anomaly is told."
  type        = number
  default     = 20
}

variable "anomaly_monitor_arn" {
  description = "The account's monitor of services, where it has one."
  type        = string
  default     = ""
}

variable "report_zip" {
  description = "The zip for the report on costs; empty: no report."
  type        = string
  default     = ""
}

variable "timezone" {
  description = "Time zone of the report's nine o'clock."
  type        = string
  default     = "UTC"
}
