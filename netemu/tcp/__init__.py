"""One TCP connection: RFC 9293 and what surrounds it. No I/O, no clock."""
