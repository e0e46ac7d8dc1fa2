"""Runs the service for a workdir until it is told to stop: the implementation of the command `serve`."""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import uvicorn

from jaxrec.data.interactions import Interactions
from jaxrec.inference.recommender import Recommender
from jaxrec.serve import limits, logs, watch
from jaxrec.serve.app import Service
from jaxrec.serve.connections import Connection, Crowd
from jaxrec.serve.hosts import Hosts
from jaxrec.serve.known import Known
from jaxrec.serve.listening import address, bind
from jaxrec.serve.metrics import Metrics
from jaxrec.serve.stocking import Stocking
from jaxrec.serve.store import Events
from jaxrec.serve.workers import Part
from jaxrec.system.errors import UserError

TOKEN = "JAXREC_TOKEN"  # an environment variable, since command lines are visible to all users
SWITCH = 0.0005  # seconds that a thread keeps the interpreter while another waits: the default is a whole answer's time
GRACE = 10  # seconds to wait for requests in progress when stopping
LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(arguments: argparse.Namespace, _overrides: Mapping[str, str], part: Part | None = None) -> int:
    """Serves a workdir until SIGTERM or Ctrl-C, then completes requests in progress. Returns the exit status.

    Args:
        arguments: the arguments of the command.
        part: the Part of this process in a service of several processes; None if it is the only one.
    """
    logs.begin(arguments.log, part is not None)
    share_cores(part.count if part else 1)
    if part:
        part.follow()
        check_device(part.count)
    if arguments.watch and arguments.checkpoint not in ("best", "latest"):
        raise UserError(f"--watch needs --checkpoint best or latest, not {arguments.checkpoint}: leave one of them out")
    allowed, token = limits.parse(arguments.limit), read_token()
    hosts = Hosts(arguments.host, arguments.allow_host)
    listening = socket.socket(fileno=part.listening) if part else bind(arguments.host, arguments.port)
    chosen = arguments.workdir, arguments.checkpoint, arguments.approximate
    stocking = Stocking(arguments.stock, part and part.turns) if arguments.stock else None
    stocked = {"stocked": stocking.onto} if stocking else {}
    there = watch.contents(*chosen[:2]) if arguments.watch else {}
    tables = arguments.items, arguments.item_devices
    recommender = watch.load(*chosen, allowed.k, allowed.batch, *tables, **stocked)
    events = Events(arguments.events, allowed.queue) if arguments.events else None
    known = Known(histories(recommender, arguments.histories)) if arguments.histories else None
    metrics = Metrics(part and part.folder)
    service = Service(recommender, allowed, events, token, hosts, known, stocking, metrics)
    beside = [threading.Thread(target=watch.warm, args=(service.batcher, allowed.k, allowed.batch), daemon=True)]
    if arguments.watch:
        renew = lambda step: watch.renew(service.batcher.recommender, step, allowed.k, allowed.batch, **stocked)
        again = (arguments.approximate, allowed.k, allowed.batch, *tables)
        reload = lambda step: watch.reload(arguments.workdir, step, *again, **stocked)

        def take(other):
            now = service.batcher.recommender
            grown = (other.base or other).catalogue is not (now.base or now).catalogue
            service.take(other, Known(histories(other, "training")) if grown and follows else None)

        follows = arguments.histories == "training"  # otherwise the users are those of the given log
        current, refuse = (recommender.step, there.get(recommender.step or 0)), service.metrics.refused.inc
        watcher = watch.Watcher(arguments.workdir, arguments.checkpoint, current, renew, reload, take, refuse)
        service.watcher = watcher
        beside.append(watcher)
    for thread in beside:
        thread.start()
    items = f"{len(service.listing):,} items"
    items += f", {len(known):,} users" if known else ""
    items += f", by {part.count} processes" if part else ""
    ready = f"jaxrec serves {arguments.workdir}, step {recommender.step}, {items}, at {address(listening)}"
    if arguments.host not in LOCAL and token is None:
        ready += f" to everyone who reaches it: set {TOKEN} to ask for a token"
    run(service.app, listening, ready, Crowd(allowed, service.metrics), part.tell if part else say)
    leave(beside)
    return 0


def say(ready: str) -> None:
    """Prints the line that says that requests are accepted."""
    print(ready, flush=True)


def share_cores(processes: int = 1) -> None:
    """Sets how the threads of this process share its cores and the interpreter, before JAX starts.

    Every process of a service gets an equal share of the cores. One core of each share is left to HTTP, since a program
    on all cores waits for the busiest one. `NPROC`, from which XLA takes the number of cores, is kept if it is set.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("NPROC", str(max(cores // processes - 1, 1)))
    sys.setswitchinterval(SWITCH)


def check_device(processes: int) -> None:
    """Checks that several processes can share the device.

    Raises:
        UserError: if it is an accelerator, whose memory the first process takes.
    """
    if (device := jax.default_backend()) != "cpu":
        raise UserError(
            f"--workers {processes}: several processes can only share a CPU, and a {device} answers here: leave it out "
            "or set JAX_PLATFORMS=cpu"
        )


def histories(recommender: Recommender, data: str) -> Interactions:
    """Returns the log of known users: that of the training for "training", otherwise as read by `prepare`."""
    return recommender.log(None if data == "training" else data)


def read_token() -> str | None:
    """Returns the token from the environment, None if there is none.

    Raises:
        UserError: if requests can't contain it.
    """
    token = os.environ.get(TOKEN)
    if token and (token != token.strip() or not token.isprintable()):
        raise UserError(f"{TOKEN} begins or ends with blanks, or has control characters: no request can carry it")
    return token or None


def leave(threads: Iterable[threading.Thread]) -> None:
    """Exits the process if a thread is still compiling, since the interpreter can't stop it and would abort at exit."""
    if any(thread.is_alive() for thread in threads):
        sys.stdout.flush()
        os._exit(0)


class _Server(uvicorn.Server):
    def __init__(self, config, ready):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self._ready()


def configuration(app: Any, crowd: Crowd) -> uvicorn.Config:
    """Returns uvicorn's configuration, for `app` and the connections of a Crowd."""
    return uvicorn.Config(
        app,
        http=partial(Connection, crowd=crowd),  # pyright: ignore[reportArgumentType] any callable will do
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )


def run(app: Any, listening: socket.socket, ready: str, crowd: Crowd, tell: Callable[[str], Any] = say) -> None:
    """Serves until a signal; tells the line `ready` once requests are accepted."""
    # uvicorn re-raises the signal after stopping, but a requested stop is a success
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        _Server(configuration(app, crowd), partial(tell, ready)).run(sockets=[listening])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
