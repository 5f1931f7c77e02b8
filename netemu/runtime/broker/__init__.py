"""Sockets for other processes: what netemu.attach talks to.

A process opens a session: a SOCK_SEQPACKET connection to the instance's ``attach.sock``, on which it asks for calls
(netemu.runtime.broker.protocol). Each socket that it makes is a real descriptor in it: one end of a pair of which the broker
holds the other, the anchor (netemu.runtime.broker.anchor). Connections, listeners and UDP sockets have an anchor each of
their own kind.
"""
