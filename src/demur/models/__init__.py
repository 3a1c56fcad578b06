"""Models: catalogue, endpoints and their client, local models, prices, encoders."""
