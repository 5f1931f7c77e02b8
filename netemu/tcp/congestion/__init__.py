"""Congestion control algorithms behind one interface."""
