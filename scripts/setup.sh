#!/bin/sh
# Brings a machine to where netemu runs; the Makefile calls it. It changes nothing that is there already.
#
#   scripts/setup.sh packages CMD...   install the Debian packages of the commands that are missing
#   scripts/setup.sh venv DIR WHAT     make the virtual environment DIR and install WHAT (. or '.[dev]') into it
#   scripts/setup.sh banner            say what to type once `make run` has started
set -eu

fail() {
    echo "setup: $*" >&2
    exit 1
}

# The Debian package that brings a command.
package_of() {
    case $1 in
        ip) echo iproute2 ;;
        nc | nc.openbsd) echo netcat-openbsd ;;
        mtr) echo mtr-tiny ;;
        nginx) echo nginx-light ;;
        ping) echo iputils-ping ;;
        nsenter | setpriv | taskset | unshare) echo util-linux ;;
        *) echo "$1" ;;
    esac
}

# As root, through sudo if need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "not root, and there is no sudo: as root, run: $*"
    fi
}

# Services that come with a package are for the tests to start: policy-rc.d says no (101) to what a package would start.
deny_services() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d'
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
}

# Install Debian packages. tshark's own question (may others capture?) is answered with its default, no.
install() {
    command -v apt-get >/dev/null || fail "no apt-get here: install by hand what Debian calls: $*"
    echo "setup: installing $*" >&2
    deny_services
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update >&2 ||
        echo "setup: apt-get update failed; going on with the lists that are there" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends "$@" >&2 || fail "apt-get could not install: $*"
}

packages() {
    missing=
    for command in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing="$missing $(package_of "$command")"
    done
    # shellcheck disable=SC2086  # one word per package
    if [ -n "$missing" ]; then install $missing; fi
}

# The first Python that is new enough: $PYTHON, python3, or one with its version in its name.
find_python() {
    for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

venv() {
    dir=$1 what=$2
    if ! "$dir/bin/python" -c 'import pip' 2>/dev/null; then # missing, or half made
        python=$(find_python) || { command -v python3 >/dev/null || packages python3; python=$(find_python); } ||
            fail "Python 3.11 or later is needed, and this is $(python3 -V 2>&1); set PYTHON to one"
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            install "python$version-venv"
        fi
        "$python" -m venv --clear "$dir" || fail "'$python -m venv $dir' failed"
    fi
    "$dir/bin/python" -m pip install -qq --disable-pip-version-check -e "$what" ||
        fail "pip could not install $what (its words are above)"
    # Compiled here and now: started by root the first time, it would leave files of root's in this folder.
    "$dir/bin/python" -m compileall -q netemu tun
}

banner() {
    if ! [ -c /dev/net/tun ]; then
        echo "There is no /dev/net/tun here: .venv/bin/netemu doctor says what to do." >&2
    fi
    for command in curl nc ping; do
        command -v "$command" >/dev/null || echo "(To try it: apt install $(package_of "$command"))"
    done
    echo "In the other terminal, 'netemu' is .venv/bin/netemu, or type first: . .venv/bin/activate"
    echo
}

action=${1:-}
[ $# -gt 0 ] && shift
case $action in
    packages) packages "$@" ;;
    venv) venv "$@" ;;
    banner) banner ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
