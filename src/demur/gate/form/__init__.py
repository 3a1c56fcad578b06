"""Whether an answer has the form that its request asks for."""
