"""What a trained router costs and reaches: calibration, measures, explanations, replay, pictures and the report."""
