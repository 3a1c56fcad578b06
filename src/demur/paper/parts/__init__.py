"""The tables and figures of `demur reproduce`, and how one is written."""
