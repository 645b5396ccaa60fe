variable "name" {
  description = "The deployment; begins the name of all that is made."
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

variable "cidr" {
  description = "Addresses of the network; a /16 to /22, of which each subnet gets a sixteenth."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) <= 22, false)
    error_message = "The network must be an IPv4 block of /22 or larger, such as 10.42.0.0/16."
  }
}

variable "zones" {
  description = "Availability zones, such as [\"ap-northeast-1a\", \"ap-northeast-1c\"]; one for development, else two."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 1 && length(var.zones) <= 8 && length(distinct(var.zones)) == length(var.zones)
    error_message = "Name one to eight different availability zones."
  }
}

variable "endpoints" {
  description = "AWS services that are reached through interface endpoints. Each costs by the hour and zone."
  type        = set(string)
}

variable "buckets" {
  description = "S3 buckets that are reached from within; empty: no endpoint for S3."
  type        = set(string)
  default     = []
}

variable "edge" {
  description = "Whether there is a load balancer."
  type        = bool
  default     = false
}

variable "public_edge" {
  description = "Whether the load balancer stands in public subnets."
  type        = bool
  default     = false
}

variable "callers" {
  description = "IPv4 blocks that may call the load balancer."
  type        = set(string)
  default     = []
}

variable "port" {
  description = "Port on which the gateway listens behind the load balancer."
  type        = number
  default     = 8080
}

variable "kms_key_arn" {
  description = "Key for the flow logs."
  type        = string
}

variable "log_days" {
  description = "How long flow logs are kept."
  type        = number
  default     = 365
}
