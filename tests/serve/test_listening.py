"""A port of several processes: all of them share it, and nobody else gets it."""

import socket
from contextlib import closing

import pytest

from jaxrec.serve import listening
from jaxrec.serve.listening import Port, address, bind
from jaxrec.system.errors import UserError

HOST = "127.0.0.1"


@pytest.fixture(params=[True, False])
def port(request, monkeypatch):
    """A Port of a system that divides connections among sockets, and of one that doesn't."""
    if request.param and not listening.DIVIDES:
        pytest.skip("this system doesn't")
    monkeypatch.setattr(listening, "DIVIDES", request.param)
    with closing(Port(HOST, 0)) as port:
        yield port


def number(port):
    with port.socket() as own:
        return own.getsockname()[1]


def accepted(sockets):
    """How many connections each socket has."""
    counts = []
    for each in sockets:
        each.setblocking(False)
        counts.append(0)
        while True:
            try:
                each.accept()[0].close()
            except BlockingIOError:
                break
            counts[-1] += 1
    return counts


def test_all_its_sockets_have_connections_and_one_that_ends_leaves_them_to_the_others(port):
    with port.socket() as first:
        second = port.socket()
        for each in (first, second):
            each.listen()
        place = first.getsockname()
        several = [socket.create_connection(place) for _ in range(40)]
        counts = accepted([first, second])
        assert sum(counts) == 40 and (min(counts) > 0 or not listening.DIVIDES)  # one run in 10^12 fails
        second.close()
        several += [socket.create_connection(place) for _ in range(10)]
        assert sum(accepted([first])) == 10
        for each in several:
            each.close()


def test_nobody_else_has_it_and_it_is_free_afterwards(port):
    place = number(port)
    with port.socket() as own:
        for begun in (False, True):
            if begun:
                own.listen()
            if begun or listening.DIVIDES:
                with pytest.raises(UserError, match="name another --host or --port"):
                    Port(HOST, place)
        with pytest.raises(UserError, match="name another --host or --port"):
            bind("0.0.0.0", place)
        socket.create_connection((HOST, place)).close()
        own.accept()[0].close()
    port.close()
    with bind(HOST, place) as alone:
        alone.listen()
        with pytest.raises(UserError, match="name another --host or --port"):
            Port(HOST, place)
    Port(HOST, place).close()


@pytest.mark.skipif(not listening.DIVIDES, reason="then one that shares it can't be there")
def test_a_socket_that_would_share_the_port_is_noticed(port):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((HOST, 0))
        other.listen()
        with pytest.raises(UserError, match="name another --host or --port"):
            Port(HOST, other.getsockname()[1])


def test_the_address_of_a_socket_is_one_to_ask(port):
    with port.socket() as own:
        assert address(own) == f"http://{HOST}:{number(port)}"
