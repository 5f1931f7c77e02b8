"""A router: forwarding, ICMP, routes from a graph, NAT, firewall. Sans-I/O; it knows nothing of links."""
