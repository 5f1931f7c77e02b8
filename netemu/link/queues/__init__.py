"""Queue disciplines: what waits before a bottleneck, what is dropped and what is marked there. Built by registry.make_queue."""
