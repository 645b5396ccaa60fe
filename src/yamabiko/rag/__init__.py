"""Retrieval: three caches before a model that answers from documents, and answers that are asked for their evidence."""
