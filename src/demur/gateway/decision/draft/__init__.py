"""Whether a weak draft may go out: by its form, and by what more samples of it say."""
