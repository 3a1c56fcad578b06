"""LLM-as-a-judge: its prompt, its replies, and the scores read from them."""
