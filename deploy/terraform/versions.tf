terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }

  # State holds no secret of yours, and yet everything about the deployment: keep it in a bucket of your own, encrypted
  # and locked. README.md has the bucket; `terraform init -backend-config=state.hcl` names it.
}
