"""One host: IP in and out, the socket table, sockets. No I/O, no clock."""
