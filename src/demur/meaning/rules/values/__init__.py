"""Values that short answers state, compared exactly: quantities, dates, ranges, names, small programs."""
