"""A cascade in place of the gate: the weak model answers every prompt, and a scorer of its words decides."""
