"""Scripts in packetdrill's language, run against the sans-I/O host in virtual time: no root, no TUN, no waiting.

``parse`` reads a script, ``run_script`` of ``many`` runs one, ``run_many`` all of them on all cores.
"""
