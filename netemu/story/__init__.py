"""The story of three apps on one port, played by real processes (`netemu story`)."""
