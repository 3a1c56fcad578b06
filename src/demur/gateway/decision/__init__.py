"""Which model answers: the one that the request names, its conversation's model, or the choice of router and gate."""
