"""What an evaluation shows: the headline, tables, pictures and the page."""
