"""How a model is found, run, asked and priced: catalogue, endpoints, local models, encoders."""
