"""A device beside a cloud, simulated: waiting, cost and quality at every threshold."""
