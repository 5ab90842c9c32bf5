"""Which replica gets the next batch: an open set, one file per policy."""
