"""Which model answers: the request's own word, its conversation's model, the router, the gate."""
