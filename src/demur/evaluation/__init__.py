"""Using and measuring a trained router: calibrate, evaluate, explain, replay, signals and the report."""
