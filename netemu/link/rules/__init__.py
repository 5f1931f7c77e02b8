"""Rules: which packets of a link something is done to, and what."""
