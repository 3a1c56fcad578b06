"""What a run has asked before, with other settings: what it cost, and what it tells about the next answers."""
