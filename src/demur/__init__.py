"""demur: the small model answers unless it demurs; then the large one does."""
