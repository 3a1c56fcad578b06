"""What fitting a method needs: the optimiser, held-out scores, one thread of linear algebra."""
