"""A target that the gateway holds while requests arrive, and what it is counted with: costs and arrivals."""
