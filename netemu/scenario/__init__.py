"""A whole emulated network in one TOML file: read, checked, and built."""
