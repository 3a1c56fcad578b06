"""The client side: connections, request bodies, the parts of OpenAI's protocol that must be read, and sending
answers.
"""
