"""The record of decisions and their costs, in SQLite or PostgreSQL, and its export."""
