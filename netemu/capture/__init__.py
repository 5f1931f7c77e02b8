"""Captures: taps, pcapng with a comment per packet, text lines. No I/O of its own: files are handed in."""
