"""Whether a stored answer is right for a new question: a small model on this device, an LLM, or Bedrock's Rerank."""
