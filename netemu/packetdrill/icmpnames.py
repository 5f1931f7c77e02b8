"""ICMP types and codes by the names that scripts use."""

from __future__ import annotations

from netemu.packetdrill.script import ScriptError

TYPES_V4 = {
    "echo_reply": 0, "unreachable": 3, "source_quench": 4, "redirect": 5, "echo_request": 8, "time_exceeded": 11,
    "parameter_problem": 12, "timestamp_request": 13, "timestamp_reply": 14,
}  # fmt: skip
TYPES_V6 = {
    "unreachable": 1, "packet_too_big": 2, "time_exceeded": 3, "parameter_problem": 4, "echo_request": 128, "echo_reply": 129,
}  # fmt: skip
_UNREACHABLE_V4 = {
    "net_unreachable": 0, "host_unreachable": 1, "protocol_unreachable": 2, "port_unreachable": 3, "frag_needed": 4,
    "source_route_failed": 5, "net_unknown": 6, "host_unknown": 7, "source_host_isolated": 8, "net_prohibited": 9,
    "host_prohibited": 10, "net_unreachable_for_tos": 11, "host_unreachable_for_tos": 12, "packet_filtered": 13,
    "precedence_violation": 14, "precedence_cutoff": 15,
}  # fmt: skip
_UNREACHABLE_V6 = {
    "no_route": 0, "net_unreachable": 0, "admin_prohibited": 1, "not_neighbour": 2, "address_unreachable": 3,
    "host_unreachable": 3, "addr_unreachable": 3, "port_unreachable": 4, "source_policy_failed": 5, "reject_route": 6,
}  # fmt: skip
_TIME = {"exceeded_in_transit": 0, "ttl_exceeded": 0, "exceeded_reassembly": 1, "reassembly_time_exceeded": 1}


def type_of(name: str, is_ipv6: bool) -> int:
    types = TYPES_V6 if is_ipv6 else TYPES_V4
    if name not in types:
        raise ScriptError(f"{name!r} is no type of {'ICMPv6' if is_ipv6 else 'ICMP'}: {', '.join(types)}")
    return types[name]


def code_of(name: str, code: str | None, is_ipv6: bool) -> int:
    """0 where the script names none."""
    if code is None:
        return 0
    codes = codes_of(name, is_ipv6)
    if code not in codes:
        raise ScriptError(f"{code!r} is no code of {name}: {', '.join(codes) or 'it has none'}")
    return codes[code]


def codes_of(name: str, is_ipv6: bool) -> dict[str, int]:
    if name == "unreachable":
        return _UNREACHABLE_V6 if is_ipv6 else _UNREACHABLE_V4
    return _TIME if name == "time_exceeded" else {}


def show(kind: int, code: int, is_ipv6: bool) -> tuple[str, str]:
    """The names of a type and a code; numbers where there are none."""
    types = TYPES_V6 if is_ipv6 else TYPES_V4
    name = next((n for n, number in types.items() if number == kind), str(kind))
    codes = codes_of(name, is_ipv6)
    return name, next((n for n, number in codes.items() if number == code), str(code) if code else "")
