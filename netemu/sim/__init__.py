"""Virtual time: hosts, links and programs, with no TUN, no root and no waiting."""
