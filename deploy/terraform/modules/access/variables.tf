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

variable "cluster_arn" {
  description = "The cluster that is connected to."
  type        = string
}

variable "user_arn" {
  description = "The user that is connected as."
  type        = string
}

variable "embedding_model" {
  description = "Id of the foundation model that embeds."
  type        = string
}

variable "models" {
  description = "Models that answer, by name of the upstream: id of the foundation model; where it is reached through an inference profile, that profile's prefix (such as jp) and every region that it leads to."
  type = map(object({
    id      = string
    profile = optional(string, "")
    regions = optional(list(string), [])
  }))

  validation {
    condition     = alltrue([for model in var.models : (model.profile == "") == (length(model.regions) == 0)])
    error_message = "A model with a profile names the regions that the profile leads to; one without names none."
  }
  validation {
    condition     = alltrue([for name, model in var.models : can(regex("^[a-z][a-z0-9]{0,39}$", name))])
    error_message = "The name of an upstream is a word in small letters and digits."
  }
  validation {
    condition     = alltrue([for model in var.models : !strcontains(model.id, "*") && !strcontains(model.id, "/")])
    error_message = "A model's id is the foundation model's, without wildcards."
  }
}

variable "knowledge_bases" {
  description = "Ids of knowledge bases that may be asked."
  type        = list(string)
  default     = []
}

variable "questions" {
  description = "BUCKET/KEY of the questions of a warm-up; empty: none."
  type        = string
  default     = ""
}

variable "secret_arns" {
  description = "Secrets that the gateway gets."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "Key that the secrets are encrypted with."
  type        = string
}
