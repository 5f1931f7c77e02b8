"""One emulated link: what is asked of it, rules, queues, and the packets under way. Sans-I/O; it knows nothing of hosts."""
