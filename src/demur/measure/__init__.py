"""Cost-quality curve, threshold and certificate: pure functions of scores and qualities."""
