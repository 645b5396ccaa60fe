variable "name" {
  description = "The deployment."
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

variable "topic_arn" {
  description = "Where alerts and reports go."
  type        = string
}

variable "monthly_usd" {
  description = "The month's budget in USD."
  type        = number

  validation {
    condition     = var.monthly_usd > 0
    error_message = "A budget is more than 0 USD."
  }
}

variable "cost_filters" {
  description = "What the budget counts, such as { TagKeyValue = [\"user:Deployment$yamabiko\"] }; empty: the whole account."
  type        = map(list(string))
  default     = {}
}

variable "anomaly_usd" {
  description = "Excess in USD from which an anomaly is told."
  type        = number
  default     = 20
}

variable "anomaly_monitor_arn" {
  description = "The account's monitor of services, where it has one; empty: one is made."
  type        = string
  default     = ""
}

variable "report_zip" {
  description = "The zip of deploy/lambda/build_zip.py, for the report; empty: no report."
  type        = string
  default     = ""
}

variable "report" {
  description = "Further fields of the report's input (docs/costs.md), such as model, embedder, dim, gateway, endpoints, zones."
  type        = any
  default     = {}
}

variable "cluster_arn" {
  description = "The cluster whose nodes the report reads."
  type        = string
}

variable "report_schedule" {
  description = "When, as EventBridge Scheduler writes it."
  type        = string
  default     = "cron(0 9 * * ? *)"
}

variable "report_timezone" {
  description = "Whose nine o'clock that is."
  type        = string
  default     = "UTC"
}

variable "runtime" {
  description = "Python of the zip."
  type        = string
  default     = "python3.13"
}

variable "architecture" {
  description = "Processor that the zip is built for."
  type        = string
  default     = "arm64"
}

variable "kms_key_arn" {
  description = "Key of the deployment."
  type        = string
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
}
