"""Pure measures on scores and qualities: cost-quality curve, threshold, certificate."""
