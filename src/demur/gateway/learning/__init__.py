"""What the gateway does for a router that learns from its traffic: cold start, feedback, canary, alarms."""
