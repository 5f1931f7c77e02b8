"""`netemu up` and `run`: every wrong option is one line and exit status 2, before anything is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netemu.apps.base import UsageError
from netemu.apps.registry import DEFAULT_APPS
from netemu.cli import main
from netemu.cli.settings import Settings, build_config, read_file
from netemu.runtime.errors import RuntimeFailure
from netemu.stack.host import Host


def test_defaults() -> None:
    config = build_config(Settings())
    (host,), (tun,) = config.plan.hosts, config.plan.tuns
    assert (config.name, tun.device, tun.mtu, tun.offload) == ("netemu0", "netemu0", 1500, True)
    assert host.addresses == ("198.18.0.2/24", "2001:2::2/64")
    assert tun.addresses == ("198.18.0.1/24", "2001:2::1/64")
    assert host.apps == DEFAULT_APPS
    assert (host.flavour, host.sysctl) == ("linux", {})


def test_flavour_and_sysctl(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('flavour = "macos"\nsysctl = ["net.ipv4.ip_local_port_range = 40000 40010"]')
    (plan,) = build_config(read_file(str(tmp_path / "c.toml"))).plan.hosts
    assert plan.flavour == "macos"
    assert plan.sysctl == {"net.ipv4.ip_local_port_range": "40000 40010"}
    host = Host(plan.addresses, flavour=plan.flavour, sysctl=plan.sysctl)
    assert host.config.local_ports == (40000, 40010)
    assert build_config(Settings(sysctl=["net.ipv4.tcp_migrate_req=1"])).plan.hosts[0].sysctl == {
        "net.ipv4.tcp_migrate_req": "1"
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--addr", "198.18.0"], "--addr 198.18.0: not an IPv4 or IPv6 address"),
        (["--addr", "198.18.0.2/24"], "leave the prefix to --host-addr"),
        (["--addr", "127.0.0.1"], "no host can have this address"),
        (["--addr", "224.0.0.1"], "no host can have this address"),
        (["--addr", "198.18.0.1"], "the address is this machine's"),
        (["--addr", "198.18.0.2", "--addr", "198.18.0.2"], "the address is given twice"),
        (["--host-addr", "198.18.0.1"], "not an address with its prefix"),
        (["--host-addr", "198.18.0.1/33"], "not an address with its prefix"),
        (["--mtu", "100"], "--mtu 100: give 576 to 65535 bytes"),
        (["--mtu", "65536"], "--mtu 65536: give 576 to 65535 bytes"),
        (["--mtu", "1000"], "IPv6 needs 1280 bytes or more"),
        (["--mtu", "big"], "Invalid value for '--mtu'"),
        (["--name", "a b"], "--name 'a b'"),
        (["--name", "../x"], "--name '../x'"),
        (["--tun", "x" * 16], "--tun 'xxxxxxxxxxxxxxxx': give 1 to 15"),
        (["--tun", "a%d"], "--tun 'a%d'"),
        (["--app", "web"], "there is no kind 'web'"),
        (["--app", "web=htp"], "there is no kind 'htp'; did you mean 'http'"),
        (["--app", "web=http:99999"], "'99999' is not a port"),
        (["--app", "a=http:81", "--app", "b=echo:81"], "port 81 is taken twice, by a and b"),
        (["--app", "trouble", "--app", "a=http:10005"], "port 10005 is taken twice, by trouble and a"),
        (["--app", "a=http:81", "--app", "a=echo:82"], "the name 'a' is taken twice"),
        (
            ["--app", "trouble,addresses=198.18.0.0/24"],
            "--app trouble: 198.18.0.0/24 has 198.18.0.2 in it, which is taken",
        ),
        (["--app", "t=trouble,addresses=2001:2::/64"], "--app t: 2001:2::/64 has 2001:2::2 in it, which is taken"),
        (
            ["--addr", "10.9.0.2", "--host-addr", "10.9.1.9/16", "--app", "trouble,addresses=10.9.1.0/24"],
            "--app trouble: 10.9.1.0/24 has 10.9.1.9 in it, which is taken; give another",
        ),
        (
            ["--addr", "198.18.0.2", "--app", "trouble,addresses=2001:db8::/64"],
            "--app trouble: 2001:db8::/64: the host has no IPv6; give it with --addr",
        ),
        (
            ["--app", "trouble,addresses=198.18.1.0/27"],
            "too small for the 43 addresses of troubles; give a /26 or larger",
        ),
        (
            ["--app", "trouble,addresses=10.1.0.0/16", "--app", "b=trouble:20001,addresses=10.1.2.0/24"],
            "--app: the addresses of trouble and b overlap; change one prefix",
        ),
        (["--app", "web=http,colour=red"], "http: there is no option 'colour'"),
        (["--app", "web=http,root=/no/such/place"], "/no/such/place"),
        (["--seed", "-1"], "--seed -1: give a number"),
        (["--user", "nobody-of-that-name"], "no such user"),
        (["--netns", "a/b"], "--netns 'a/b'"),
        (["--flavour", "beos"], "--flavour beos: give one of linux, freebsd, macos, windows, classic"),
        (["--sysctl", "net.ipv4.tcp_sack"], "--sysctl net.ipv4.tcp_sack: give NAME=VALUE"),
        (["--sysctl", "net.ipv4.tcp_wings=1"], "--sysctl net.ipv4.tcp_wings: not known; known: net.ipv4."),
        (["--sysctl", "net.ipv4.tcp_sack=on"], "--sysctl net.ipv4.tcp_sack=on: give a number"),
        (["--sysctl", "net.ipv4.ip_local_port_range=9"], "give two port numbers, such as '32768 60999'"),
        (["--sysctl", "net.ipv4.ip_local_port_range=9 8"], "give two port numbers"),
        (["--frobnicate"], "No such option: --frobnicate"),
        (["one.toml", "surplus"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("netemu: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_missing_namespace_is_the_machines_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--netns", "no-such-netns"]) == 1
    assert "make it with `ip netns add no-such-netns`" in capsys.readouterr().err


def test_an_app_replaces_the_default_of_its_name_or_port() -> None:
    config = build_config(Settings(app=["web=http:80", "echo=echo:7007", "more=discard:99"]))
    assert [(app.name, app.port) for app in config.plan.hosts[0].apps] == [
        ("discard", 9),
        ("daytime", 13),
        ("chargen", 19),
        ("web", 80),
        ("echo", 7007),
        ("more", 99),
    ]
    assert [app.name for app in build_config(Settings(app=["web=http"], no_apps=True)).plan.hosts[0].apps] == ["web"]
    assert build_config(Settings(no_apps=True)).plan.hosts[0].apps == ()


def test_addresses_of_an_app_get_a_route_where_they_have_none() -> None:
    config = build_config(Settings(app=["trouble,addresses=198.18.1.0/24+2001:2:0:1::/64"]))
    assert config.plan.tuns[0].routes == ("198.18.1.0/24", "2001:2:0:1::/64")
    assert config.plan.hosts[0].addresses == ("198.18.0.2/24", "2001:2::2/64"), "they are the app's, not the host's"
    within = build_config(
        Settings(host_addr=["198.18.0.1/16", "2001:2::1/64"], app=["trouble,addresses=198.18.1.0/24"])
    )
    assert within.plan.tuns[0].routes == ()
    wider = build_config(Settings(addr=["10.9.0.2"], host_addr=["10.9.0.1/24"], app=["trouble,addresses=10.8.0.0/16"]))
    assert wider.plan.tuns[0].routes == ("10.8.0.0/16",)


def test_the_tun_is_called_like_the_instance() -> None:
    assert build_config(Settings(name="two")).plan.tuns[0].device == "two"
    assert build_config(Settings(name="two", tun="t")).plan.tuns[0].device == "t"


def test_a_family_without_an_emulated_address_gets_none_on_the_machines_side() -> None:
    config = build_config(Settings(addr=["198.18.0.9"], mtu=600))
    assert config.plan.tuns[0].addresses == ("198.18.0.1/24",)


def test_a_file_has_the_options_keys_and_yields_to_them(tmp_path: Path) -> None:
    path = tmp_path / "netemu.toml"
    path.write_text('mtu = 9000\naddr = ["10.9.0.2"]\nhost-addr = ["10.9.0.1/24"]\nno-offload = true\nseed = 7\n')
    config = build_config(Settings(mtu=1400).over(read_file(str(path))))
    assert (config.plan.hosts[0].mtu, config.plan.seed, config.plan.tuns[0].offload) == (1400, 7, False)
    assert config.plan.hosts[0].addresses == ("10.9.0.2/24",)
    assert config.plan.tuns[0].addresses == ("10.9.0.1/24",)


def test_zero_on_the_command_line_is_not_nothing(tmp_path: Path) -> None:
    path = tmp_path / "netemu.toml"
    path.write_text("seed = 7\nmtu = 9000")
    assert build_config(Settings(seed=0).over(read_file(str(path)))).plan.seed == 0
    with pytest.raises(UsageError, match="--mtu 0"):
        build_config(Settings(mtu=0).over(read_file(str(path))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mut = 9000", "unknown key 'mut'; known: name, tun, mtu, addr, host-addr, app,"),
        ('mtu = "9000"', "mtu: Expected `int`, got `str`"),
        ('addr = "10.9.0.2"', "addr: Expected `array`, got `str`"),
        ("mtu = ?", r"Invalid value \(at line 1, column 7\)"),
        ("\udcff", "codec can't decode|Invalid"),
    ],
)
def test_a_wrong_file_names_itself_and_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "netemu.toml"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=says) as caught:
        read_file(str(path))
    assert str(caught.value).startswith(f"--config {path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="No such file"):
        read_file(str(tmp_path / "none.toml"))
    with pytest.raises(RuntimeFailure, match="Is a directory"):
        read_file(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_user_may_be_a_name_or_a_uid() -> None:
    assert build_config(Settings(user="nobody")).user == "nobody"
    assert build_config(Settings(user="65534")).user == "65534"
