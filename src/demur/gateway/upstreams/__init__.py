"""The model side: requests to both models, retries, circuit breakers, and token counts."""
