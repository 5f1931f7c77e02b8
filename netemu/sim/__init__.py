"""Virtual time: hosts and paths, with no TUN, no root and no waiting."""
