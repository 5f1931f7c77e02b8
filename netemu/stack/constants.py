"""Socket option levels, names and families by Linux' numbers, since nothing below ``runtime`` may import socket."""

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
SOCK_STREAM, SOCK_DGRAM = 1, 2
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2

SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6 = 1, 0, 6, 17, 41
SO_REUSEADDR, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_LINGER, SO_REUSEPORT = 2, 4, 7, 8, 9, 13, 15
SO_BINDTODEVICE, SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF = 25, 51, 68
SO_TYPE, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN, SO_INCOMING_CPU = 3, 30, 38, 39, 49
SO_REUSEPORT_LB, SO_EXCLUSIVEADDRUSE = 0x10000, -5  # FreeBSD's, Windows'
TCP_NODELAY, TCP_MAXSEG, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT = 1, 2, 4, 5, 6
TCP_INFO, TCP_USER_TIMEOUT = 11, 18
IP_TOS, IP_TTL, IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE = 1, 2, 24, 51
IPV6_UNICAST_HOPS, IPV6_V6ONLY, IPV6_TCLASS = 16, 26, 67

SOL_NETEMU, HOLD_SYNACK = 0x4E45, 1
"""Ours alone. Set to 1 on a TCP listener: accept hands connections out at their SYN, with the SYN-ACK held back, so that the app
decides whether to take them. On such a connection 0 lets the SYN-ACK go (it is writable once the handshake is done); to close
it instead refuses it with a RST, as a closed port would. 60 s without a decision count as a refusal.
"""
