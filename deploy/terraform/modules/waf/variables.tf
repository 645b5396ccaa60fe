variable "name" {
  description = "The deployment."
  type        = string
}

variable "requests_per_five_minutes" {
  description = "What one address may ask within five minutes."
  type        = number
  default     = 2000
}

variable "kms_key_arn" {
  description = "Key for the log."
  type        = string
}

variable "log_days" {
  description = "How long the log is kept."
  type        = number
  default     = 365
}
