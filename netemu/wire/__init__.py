"""Bytes to packets and back: checksums, IPv4, IPv6, TCP, UDP, ICMP. No I/O, no clock."""
