"""Ports each of which misbehaves in one known way: for TCP what badssl.com is for TLS.

`table` says what there is; `connection`, `answers` and `sockets` are what an application can do wrong, `packets` what only the
packets show.
"""
