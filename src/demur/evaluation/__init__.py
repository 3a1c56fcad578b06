"""Using and measuring a trained router: calibrate, evaluate, replay, grade, signals, pairs, simulate and the report."""
