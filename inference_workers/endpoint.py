"""A small HTTP server for scrapes and probes: read-only, bounded, and never in the way of the work."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

#: Most requests answered at a time; one more is closed. A scraper and two probes make three.
MOST_AT_ONCE = 8
#: Seconds that a client may take to send its request or to read the answer.
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: int
    content_type: str
    body: bytes


class Endpoint:
    """Serves pages by path from threads of its own, until closed.

    Args:
        host: the address to listen on.
        port: 0 = any free one.
        pages: by path; each gets the request's `Accept` header and must be quick.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[str], Page]]) -> None:
        self._server = _Server((host, port), _handler(pages))
        self.port: int = self._server.server_address[1]
        self.address = f"{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not the base class's: it asks the name service for this host's name, which may hang. A worker that restarts
        # must get its port again though old connections linger.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "penstock", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        # A client that hung up is no event; the base class would print a traceback.
        log.debug("endpoint.request_failed", extra={"error": repr(sys.exception())})


def _handler(pages: Mapping[str, Callable[[str], Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "penstock"
        sys_version = ""
        timeout: ClassVar[float] = PATIENCE_S

        def do_GET(self) -> None:
            page = self._page()
            self._send(page, page.body)

        def do_HEAD(self) -> None:
            self._send(self._page(), b"")

        def _page(self) -> Page:
            make = pages.get(self.path.partition("?")[0])
            if make is None:
                known = " ".join(sorted(pages))
                return Page(404, "text/plain; charset=utf-8", f"here are: {known}\n".encode())
            try:
                return make(self.headers.get("Accept", ""))
            except Exception as error:
                log.exception("endpoint.page_failed", extra={"path": self.path[:80]})
                return Page(500, "text/plain; charset=utf-8", f"{type(error).__name__}\n".encode())

        def _send(self, page: Page, body: bytes) -> None:
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a line a scrape helps nobody."""

    return Handler
