"""Ports each of which misbehaves in one known way: for TCP what badssl.com is for TLS.

`table` says what there is. `connection` and `answers` are what an application can do wrong; what only the packets show are rules
in the table and, where no rule can say it, `packets`.
"""
