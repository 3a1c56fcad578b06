"""What learns from the traffic that is served: kept prompts, shadow samples, candidates, targets, alarms, promises."""
