"""The models' side of the gateway: asked, retried, left alone while down, their tokens counted."""
