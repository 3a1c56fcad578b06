"""Groups of like embeddings."""
