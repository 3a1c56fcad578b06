"""The record of decisions and money."""
