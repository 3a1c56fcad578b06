"""What comes before a run is sampled: checks, an estimate without asking, a folder that goes where none answers."""
