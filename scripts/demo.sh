#!/bin/sh
# Shows netemu in a private network namespace: real clients, the socket table, a capture. Called by `make demo`.
# Afterwards it looks whether a trace is left, and fails if so.
set -eu
cd "$(dirname "$0")/.."
netemu=$PWD/.venv/bin/netemu

if [ -t 1 ]; then bold=$(printf '\033[1;36m') dim=$(printf '\033[33m') plain=$(printf '\033[0m'); else bold='' dim='' plain=''; fi

heading() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }

# Print a command as one would type it, then run it.
try() {
    printf '%s$ %s%s\n' "$dim" "$1" "$plain"
    sh -c "$1"
}

# In the namespace, beside the running host.
inside() {
    PATH=$(dirname "$netemu"):$PATH
    heading "A web server, and no kernel socket behind it"
    try "curl -s http://198.18.0.2/ | sed -n '/netemu lives\|comes from/p'"
    try "curl -s -o /dev/null -w '%{http_code}, %{size_download} bytes at %{speed_download} bytes/s\n' http://198.18.0.2/bytes/16M"
    try "curl -s -r 16-31 'http://[2001:2::2]/bytes/1M'"
    heading "echo, daytime, and a port that nobody has"
    try "echo 'hello, stack' | nc -N 198.18.0.2 7"
    try "nc 198.18.0.2 13 </dev/null"
    try "nc -v -N 198.18.0.2 4444 </dev/null || true"
    heading "ping"
    try "ping -q -c 3 -i 0.2 198.18.0.2"
    try "ping -q -6 -c 3 -i 0.2 -s 20000 2001:2::2"
    heading "The socket table, while one connection is open"
    sleep 2 | nc -N 198.18.0.2 7 &
    sleep 0.2
    try "netemu ss -a"
    heading "What was counted, by rule and by reason"
    try "netemu nstat"
    wait
}

# In the namespace: note what there is to look for afterwards.
note_traces() {
    readlink /proc/self/ns/net | tr -dc '0-9' >"$1/namespace"
    "$netemu" ls --json | sed -n 's/.*"directory": "\(.*\)".*/\1/p' >"$1/directory"
}

# What is left of what was noted: the instance's directory, a process in the namespace, a name for it.
traces() {
    ls -d "$2" 2>/dev/null || true
    for namespace in /proc/[0-9]*/ns/net; do
        case $(readlink "$namespace" 2>/dev/null || true) in *"[$1]") echo "$namespace" ;; esac
    done
    find /run/netns -inum "$1" 2>/dev/null || true
}

# The first packets of the conversation with port 4444 and of one with port 80, each with its comment.
show_capture() {
    heading "The capture: each packet with what became of it"
    filter='tcp.port == 4444 || (tcp.port == 80 && ipv6)'
    if command -v tshark >/dev/null; then
        columns='"Time","%t","From","%s","Info","%i","Decision","%Cus:frame.comment"'
        printf '%s$ tshark -r demo.pcapng "%s"%s\n' "$dim" "$filter" "$plain"
        tshark -r "$1/demo.pcapng" -o "gui.column.format:$columns" "$filter" 2>/dev/null | head -20
    else
        echo "(tshark is not installed: these are netemu's own words)"
        head -20 "$1/demo.txt"
    fi
}

if [ "${1:-}" = inside ]; then
    if ! command -v tshark >/dev/null; then
        "$netemu" capture 'port 4444 or (ip6 and tcp)' >"$2/demo.txt" 2>/dev/null &
        capture=$!
    fi
    note_traces "$2"
    inside
    if [ -n "${capture:-}" ]; then kill -INT "$capture"; wait "$capture" || true; fi
    exit
fi

as_root=
if [ "$(id -u)" != 0 ] && ! "$netemu" run -- true 2>/dev/null; then as_root=sudo; fi
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
$as_root "$netemu" run --pcap "$files/demo.pcapng" -- "$0" inside "$files"
show_capture "$files"

heading "What is left of it"
left=$(traces "$(cat "$files/namespace")" "$(cat "$files/directory")")
rm -rf "$files"
if [ -z "$left" ] && [ ! -e "$files" ]; then
    echo "nothing: no process, no network namespace (and so no device in it), no instance, no file"
else
    echo "demo: something was left behind: $left" >&2
    exit 1
fi
