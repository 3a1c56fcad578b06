"""What a request asks: its messages, what the person wrote in them, and the text that is routed."""
