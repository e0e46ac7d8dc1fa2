"""The HTTP service as an ASGI application, independent of workdirs and of the server that runs it."""

import asyncio
import contextlib
import logging
import queue
import threading
from itertools import chain
from typing import Any

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jaxrec.batches import context
from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.inference.states import States
from jaxrec.inference.stock import ROOM, AlreadyThere, NewItem, roomy, sharing
from jaxrec.serve import answering, endpoints, openapi, page, schema, watch
from jaxrec.serve.batching import Batcher, Full
from jaxrec.serve.database import Unavailable
from jaxrec.serve.endpoints import FOUND, LONGEST
from jaxrec.serve.facets import asking, facets
from jaxrec.serve.guard import AuthMiddleware
from jaxrec.serve.histories import Histories, Past
from jaxrec.serve.hosts import Hosts
from jaxrec.serve.known import Known
from jaxrec.serve.limits import Limits
from jaxrec.serve.listing import Listing
from jaxrec.serve.metrics import Metrics
from jaxrec.serve.schema import RequestError, busy
from jaxrec.serve.stocking import Stocking
from jaxrec.serve.store import Events
from jaxrec.serve.watch import Watcher
from jaxrec.system.errors import UserError

log = logging.getLogger("jaxrec.serve")


class Service:
    """A recommender behind HTTP. `app` is the ASGI application; `take` replaces the recommender."""

    def __init__(
        self,
        recommender: Recommender,
        limits: Limits,
        events: Events | None = None,
        token: str | None = None,
        hosts: Hosts | None = None,
        known: Known | None = None,
        stocking: Stocking | None = None,
        metrics: Metrics | None = None,
    ):
        """Creates the service.

        Args:
            recommender: compiled for one history and limits.k items; raise `batcher.size` once it is compiled for more.
            limits: Limits.
            events: the store of events, or None.
            token: required in requests, or None.
            hosts: accepted Hosts; those of this machine by default.
            known: the users of a log, or None.
            stocking: the changes of the catalogue, or None.
            metrics: Metrics; its own by default.
        """
        self.watcher: Watcher | None = None  # looks for new checkpoints, if set; used by the health check
        self.limits, self.events, self.known, self.metrics = limits, events, known, metrics or Metrics()
        noted = self.metrics.batch.observe, self.metrics.waiting.set
        self.batcher = Batcher(recommender, limits.queue, *noted, States(limits.states))
        self._histories = self._of_users()
        self.listing = _listing(recommender)
        self._facets: tuple | None = None  # (Catalogue, what GET /attributes answers of it)
        self._stocking, self._changing, self._growing = stocking, threading.Lock(), threading.Lock()
        self._following: asyncio.Future | None = None  # applies what other processes have changed
        self.metrics.step.set(recommender.step or 0)
        self.endpoints = endpoints.of(self, schema.bodies(limits))
        paths = {each.path for each in self.endpoints}
        asking = {each.path for each in self.endpoints if each.body is not None}
        full = lambda: self.batcher.full
        self.app = AuthMiddleware(self._application(), self.metrics, token, hosts or Hosts(), paths, asking, full)

    def take(self, recommender: Recommender, known: Known | None = None) -> None:
        """Replaces the recommender from the next batch on. The catalogue may differ.

        Args:
            recommender: as for `__init__`.
            known: the users of another log; None to keep the current ones.
        """
        with self._changing:
            if self._stocking:  # there may be changes since it was loaded
                latest = self._stocking.onto(recommender.base or recommender, recommender.engine.items)
                recommender = watch.with_programs(latest, recommender, self.limits.k, self.limits.batch)
            if recommender.catalogue is not self.batcher.recommender.catalogue:
                self.listing = _listing(recommender)
            self.batcher.recommender, self.known = recommender, self.known if known is None else known
            self._histories = self._of_users()
        self.metrics.step.set(recommender.step or 0)
        self.metrics.swapped.inc()

    def _of_users(self):
        most = max(self.limits.history, self.batcher.recommender.engine.length)
        return Histories(self.events, self.known, most)

    def close(self) -> None:
        """Completes waiting requests, and closes the store."""
        self.batcher.close()
        if self.events:
            self.events.close()

    async def recommend(self, body: Any) -> dict:
        """Answers POST /recommend."""
        several = [Past(history, now=body.now, columns=body.user_columns) for history in body.histories or ()]
        dated = context.is_dated(self.batcher.recommender.engine.kinds)
        pasts = [await self._histories.of(body, dated)] if body.histories is None else several
        candidates, block = (self.listing.own_all(ids or ()) for ids in (body.candidates, body.block))
        candidates = None if body.candidates is None else candidates
        k = self.limits.k if self.batcher.recommender.engine.approximate else body.k  # the same candidates for any k
        whose = body.user if self.batcher.recommender.users else None  # other models ignore the user
        shown = {column.name for column in self.batcher.recommender.columns}
        _, leaves_out = self.batcher.recommender.asked(body.k, body.exclude_seen)
        older = [self.listing.own_all(past.older) if leaves_out else [] for past in pasts]
        queries = [
            Query(
                self.listing.own_all(past.items),
                k,
                exclude_seen=body.exclude_seen,
                candidates=candidates,
                block=[*block, *(id for id in before if id in self.listing)],
                where=body.where,
                user=whose,
                times=past.times,
                weights=past.weights,
                types=past.types,
                sessions=past.sessions,
                now=past.now,
                user_columns={name: value for name, value in (past.known or {}).items() if name in shown}
                | (past.columns or {}),
            )
            for past, before in zip(pasts, older, strict=True)
        ]
        ranked = await self._ask(queries)
        strange = any(each.unknown for each in ranked)
        given = chain(*(body.histories or [body.history or ()]), body.candidates or (), body.block) if strange else ()
        given = {self.listing.own(id): id for id in given}
        results = [self._ranking(each, body.k, given) for each in ranked]
        return results[0] if body.histories is None else {"results": results}

    async def similar(self, body: Any) -> dict:
        """Answers POST /similar."""
        item = self.listing.own(body.item)
        if item not in self.listing:
            raise RequestError(404, "item", f"{body.item!r} is not in the catalogue: find items by GET /items")
        (ranked,) = await self._ask([lambda recommender: recommender.similar(item, self.limits.k)])
        return {"items": self._scored(ranked[: body.k])}

    async def influence(self, body: Any) -> dict:
        """Answers POST /influence."""
        history, items = (self.listing.own_all(ids) for ids in (body.history, body.items))
        for field, ids in (("history", history), ("items", items)):
            if not any(id in self.listing for id in ids):
                raise RequestError(404, field, "none of these ids is in the catalogue")

        def ask(recommender):
            whose = body.user if recommender.users else None
            told = body.times, body.weights, body.types, body.now, body.user_columns, body.sessions
            return recommender.influence(history, items, whose, *told).tolist()

        (moved,) = await self._ask([ask])
        return {"influence": moved}

    async def happened(self, body: Any) -> dict:
        """Answers POST /events."""
        if self.events is None:
            raise RequestError(404, None, "this service keeps no events: start it with --events FILE")
        try:
            told = body.time, body.weight, body.type, body.session, body.user_columns
            stored = await asyncio.wrap_future(self.events.append(body.user, body.items or [body.item], *told))
        except queue.Full:
            raise busy("too many events wait for the disk") from None
        except Unavailable as error:
            raise busy(f"the event could not be stored: {error}") from error
        self.metrics.events.inc(stored)
        return {"stored": stored}

    async def change(self, body: Any) -> dict:
        """Answers POST /items."""
        if self._stocking is None:
            raise RequestError(404, None, "this catalogue does not change: start the service with --stock FILE")
        own = self.listing.own
        added = [NewItem(own(item.id), [own(id) for id in item.like], item.about) for item in body.add]
        try:
            await asyncio.to_thread(self._change, self._stocking, added, [own(id) for id in body.retire])
        except (Unavailable, OSError) as error:
            raise busy(str(error)) from error
        except AlreadyThere as error:
            raise RequestError(409, "add", str(error).removeprefix("add: ")) from error
        return {"added": len(added), "retired": len(body.retire), "items": len(self.listing)}

    async def follow(self) -> None:
        """Applies what other processes have changed in the catalogue. Answers that begin afterwards include all of it.

        Raises:
            RequestError: if that can't be read at present.
        """
        while self._stocking and self._stocking.is_behind:
            if self._following is None or self._following.done():  # one for all requests that wait for it
                self._following = asyncio.ensure_future(asyncio.to_thread(self._change, self._stocking))
            try:
                await asyncio.shield(self._following)
            except (OSError, UserError) as error:
                log.error("what other processes have changed in the catalogue can't be read: %s", error)
                raise busy("the catalogue has changed, and the changes can't be read; the log says why") from error

    def _change(self, stocking, added=(), retired=()):
        now = self.batcher.recommender
        if now.engine.items < len(now.offered) + len(added):
            self._make_room(len(added))  # before taking the turn, which other processes wait for
        with self._changing, stocking.turn():
            self._use(stocking.followed(self.batcher.recommender))
            if added or retired:
                self._use(stocking.changed(self.batcher.recommender, added, retired))
            now = self.batcher.recommender
        if now.engine.items - len(now.offered) < ROOM // 2:
            threading.Thread(target=self._make_room, name="room", daemon=True).start()

    def _use(self, now):
        """Answers with a Recommender with further changes from now on."""
        if now is not self.batcher.recommender:
            now.engine = sharing(now.engine, self.batcher.recommender.engine)
            self.listing = self.listing.changed(now.catalogue, now.offered)
            self.batcher.recommender = now

    def _make_room(self, added=0):
        """Lengthens the tables, and compiles for them, while the shorter ones answer."""
        with self._growing:
            now = self.batcher.recommender
            rows = roomy(len(now.offered) + added)
            if rows <= now.engine.items:  # there is room by now
                return
            longer = watch.with_programs(now.changed(rows=rows), now, self.limits.k, self.limits.batch)
            with self._changing:
                latest = self.batcher.recommender
                if latest.engine.model is now.engine.model:  # it was not replaced by another training's
                    latest = latest.changed(rows=rows)
                    latest.engine = sharing(latest.engine, longer.engine)
                    self.batcher.recommender = latest

    async def items(self, request: Request) -> dict:
        """Answers GET /items."""
        text, count = request.query_params.get("q", ""), request.query_params.get("k", str(min(FOUND, self.limits.k)))
        if len(text) > LONGEST:
            raise RequestError(422, "q", f"at most {LONGEST} characters")
        if not (count.isascii() and count.isdigit() and len(count) < 10 and 1 <= int(count) <= self.limits.k):
            raise RequestError(422, "k", f"should be a number from 1 to {self.limits.k}")
        found = await asyncio.to_thread(self.listing.search, text, int(count))
        return {"items": [{"id": schema.exact(id), "title": self.listing.title(id)} for id in found]}

    async def titles(self, body: Any) -> dict:
        """Answers POST /titles."""
        ids = [self.listing.own(id) for id in body.items]
        return {
            "items": [{"id": schema.exact(id), "title": self.listing.title(id)} for id in ids if id in self.listing]
        }

    async def attributes(self, _request: Request) -> dict:
        """Answers GET /attributes."""
        catalogue, found = self.batcher.recommender.catalogue, self._facets
        if found is None or found[0] is not catalogue:
            found = self._facets = catalogue, await asyncio.to_thread(facets, catalogue.about)
        return {"attributes": found[1]}

    async def context(self, _request: Request) -> dict:
        """Answers GET /context."""
        return asking(self.batcher.recommender)

    async def health(self, _request: Request) -> dict:
        """Answers GET /healthz."""
        if not self.batcher.alive or (self.events and not self.events.alive):
            raise RequestError(503, None, "a thread of the service has ended: start it again")
        if self.events and self.events.trouble:
            raise busy(f"no events can be kept: {self.events.trouble}: put the file back, or start the service again")
        if self.watcher and self.watcher.late:
            told = self.watcher.told()
            said = f"were last looked for {told['looked']} s ago" if told["loading"] is None else "take long to load"
            raise busy(f"new checkpoints {said}: the log may say why")
        return {"status": "ok", "watch": self.watcher and self.watcher.told()}

    async def ready(self, _request: Request) -> dict:
        """Answers GET /readyz."""
        if not self.batcher.alive or self.batcher.full:
            raise busy("it is stopping, or its queue is full")
        step, together = self.batcher.recommender.step, self.batcher.size
        return {"status": "ready", "step": step, "items": len(self.listing), "batch": together}

    async def _ask(self, questions):
        """Returns the model's answers, in order. Raises the first error among them."""
        if not questions:
            return []
        try:
            futures = self.batcher.submit(questions)
        except Full:
            raise busy("too many requests wait") from None
        try:
            await asyncio.wait(futures)
            for error in [future.exception() for future in futures]:
                if error:
                    raise error
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()  # discard answers that are no longer awaited

    def _ranking(self, ranked, k, given):
        unknown = [schema.exact(given.get(id, id)) for id in ranked.unknown]
        found = {"items": self._scored(ranked[:k]), "unknown": unknown}
        return found | {"fallback": ranked.fallback, "step": ranked.step}

    def _scored(self, ranked):
        return [{"id": schema.exact(id), "score": score, "title": self.listing.title(id)} for id, score in ranked]

    def _application(self):
        described = openapi.document(self.endpoints)
        fixed = {
            "/openapi.json": (to_json(described), "application/json"),
            "/docs": (openapi.page(described).encode(), "text/html"),
            **page.files(),
        }
        routes = answering.routes(self.endpoints, self.limits)
        routes += [Route(path, answering.fixed(*file)) for path, file in fixed.items()]
        routes += [Route("/metrics", self._metrics)]
        application = Starlette(routes=routes, exception_handlers=answering.ERRORS, lifespan=self._lifespan)
        application.router.redirect_slashes = False  # a redirect could lead to any host that the request names
        return application

    async def _metrics(self, _request):
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app):
        yield
        await asyncio.to_thread(self.close)


def _listing(recommender):
    """Returns the Listing of a recommender's catalogue."""
    listing = Listing(recommender.catalogue)
    return listing if recommender.offered.all() else listing.changed(recommender.catalogue, recommender.offered)
