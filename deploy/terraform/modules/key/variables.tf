variable "name" {
  description = "The deployment; also the name of the ECS cluster, where there is one."
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

variable "fargate" {
  description = "Whether Fargate encrypts the disks of its tasks with this key."
  type        = bool
  default     = false
}
