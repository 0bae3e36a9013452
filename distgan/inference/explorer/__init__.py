"""A page on which a generator is explored: served on this machine, or as one HTML file for others."""
