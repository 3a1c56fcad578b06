"""Which answers mean the same: final answers, rules, entailment models, meaning clusters."""
