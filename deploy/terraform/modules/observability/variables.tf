variable "name" {
  description = "The deployment, as the gateway's setting of that name has it."
  type        = string
}

variable "region" {
  description = "Region of the metrics."
  type        = string
}

variable "topic_arn" {
  description = "Where alarms go."
  type        = string
}

variable "cluster_name" {
  description = "The MemoryDB cluster."
  type        = string
}

variable "node_type" {
  description = "Type of its nodes: which processor metric counts follows from it."
  type        = string
}

variable "replicas" {
  description = "Replicas of the cluster; 0: no alarm on their lag."
  type        = number
}

variable "function" {
  description = "Whether the gateway is a Lambda function."
  type        = bool
}

variable "balanced" {
  description = "Whether it stands behind a load balancer."
  type        = bool
}

variable "function_name" {
  description = "The function."
  type        = string
  default     = ""
}

variable "load_balancer" {
  description = "The load balancer, as its metrics name it."
  type        = string
  default     = ""
}

variable "target_groups" {
  description = "Its target groups, as their metrics name them."
  type        = map(string)
  default     = {}
}

variable "log_group" {
  description = "The gateway's log."
  type        = string
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

variable "band_width" {
  description = "Width of the band of what is usual, in standard deviations."
  type        = number
  default     = 3
}

variable "p99_seconds" {
  description = "What 99 of 100 requests must not exceed."
  type        = number
  default     = 20
}

variable "errors" {
  description = "Errors within five minutes that are borne."
  type        = number
  default     = 5
}

variable "max_error_percent" {
  description = "The promise: policy.max_error_rate, percent."
  type        = number
  default     = 5
}
