"""Which answers mean the same: rules, entailment models, meaning clusters."""
