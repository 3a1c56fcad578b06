"""How uncertain a model is about a prompt: from its samples, its tokens, its own report."""
