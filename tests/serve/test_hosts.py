"""Which requests are meant for the service, by Host and Origin."""

import pytest

from jaxrec.serve.hosts import Hosts


def status(hosts, *headers):
    trouble = hosts.trouble([(name, value.encode("latin-1")) for name, value in headers])
    return trouble and trouble[0]


def of(host):
    return (b"host", host)


OWN = ["localhost", "LocalHost:8000", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9", "[::1]", "[::1]:8000"]
FOREIGN = [
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.7", "0.0.0.0"),
    *("[2001:db8::1]", "rec.example", "2130706433", "\xff\xfe", "a'b"),
]
NONE = ["", ":8000", "a b", "localhost/", "a@localhost", "localhost:x", "localhost:123456", "::1", "[::1", "x" * 300]


@pytest.mark.parametrize("listening", ["127.0.0.1", "::1", "localhost", "LOCALHOST."])
def test_this_machine_alone_by_its_own_names(listening):
    hosts = Hosts(listening)
    assert [status(hosts, of(host)) for host in OWN] == [None] * len(OWN)
    assert [status(hosts, of(host)) for host in FOREIGN] == [403] * len(FOREIGN)
    assert [status(hosts, of(host)) for host in NONE] == [400] * len(NONE)
    assert status(hosts) == status(hosts, of("localhost"), of("localhost")) == 400


@pytest.mark.parametrize("listening", ["0.0.0.0", "::", "10.0.0.7", "rec.example"])
def test_an_address_is_safe_and_a_name_is_not(listening):
    hosts = Hosts(listening, ["Proxy.Example."])
    for host in ("10.0.0.7:80", "[2001:db8::1]", "[2001:0DB8:0::0:1]:9", "localhost", "proxy.example:8000"):
        assert status(hosts, of(host)) is None
    assert status(hosts, of("evil.example")) == 403
    assert status(hosts, of("rec.example")) == (None if listening == "rec.example" else 403)


def test_an_origin_is_the_same_host_or_an_allowed_one():
    hosts = Hosts(allowed=["rec.example"])
    for host, origin, expected in [
        ("localhost:8000", "http://localhost:8000", None),
        ("[::1]:8000", "http://[0:0::1]:8000", None),
        ("127.0.0.1:8000", "https://rec.example", None),  # a proxy may put its own Host
        ("rec.example", "https://rec.example:8443", None),
        ("localhost:8000", "http://127.0.0.1:8000", 403),
        ("localhost:8000", "http://localhost:8001", 403),
        ("localhost:8000", "http://evil.example", 403),
        ("localhost:8000", "null", 403),
        ("localhost:8000", "", 403),
    ]:
        assert status(hosts, of(host), (b"origin", origin)) == expected, origin
    assert status(hosts, of("localhost"), (b"origin", "http://localhost"), (b"origin", "null")) == 403
