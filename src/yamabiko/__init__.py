"""A durable semantic cache for LLM and RAG workloads."""
