"""Battles of many models, as an arena collects them: ratings, tiers, and what they say of one pair."""
