"""A local server with the vendor's aggregates endpoint over the prepared bars.

Every ticker has the same bars. A page is a slice of memory and one write, so
that the server costs milliseconds where its clients cost seconds. Runs as a
process of its own: `python -m benchmarks.server PORT`.
"""

import base64
import re
import sys
from bisect import bisect_left, bisect_right
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from . import market

RANGE = re.compile(r"/v2/aggs/ticker/([^/]+)/range/1/minute/([^/]+)/([^/]+)")
NEXT_HOST = "https://api.massive.com"


def moment(text, is_end):
    """A date (the start of its day, or of the next) or milliseconds."""
    if text.isdigit():
        return int(text)
    day = date.fromisoformat(text) + timedelta(days=is_end)
    return market.open_ms(day) - (1 if is_end else 0)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; `bars` is set before serving."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    bars = None

    def do_GET(self):
        """A page of bars, or the vendor's 404."""
        url = urlsplit(self.path)
        asked = RANGE.fullmatch(url.path)
        if asked is None:
            return self.answer(404, [b'{"status":"NOT_FOUND","request_id":"bench","message":"Not found."}'])
        ticker, start, end = (unquote(part) for part in asked.groups())
        query = dict(parse_qsl(url.query))
        if "cursor" in query:
            cursor = query["cursor"]
            query = dict(parse_qsl(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()))
        first = bisect_left(self.bars.starts, moment(start, is_end=False))
        last = bisect_right(self.bars.starts, moment(end, is_end=True))
        stop = min(last, first + min(int(query.get("limit", 5_000)), market.PAGE_ROWS_MAX))
        if first >= stop:
            return self.answer(200, [b'{"status":"OK","request_id":"bench","queryCount":0,"resultsCount":0}'])
        next_url = None
        if stop < last:
            plain = f"adjusted=false&limit={query['limit']}&sort=asc".encode()
            cursor = base64.urlsafe_b64encode(plain).decode().rstrip("=")
            moved = f"/v2/aggs/ticker/{ticker}/range/1/minute/{self.bars.starts[stop]}/{end}"
            next_url = f"{NEXT_HOST}{moved}?cursor={cursor}"
        self.answer(200, self.bars.page(first, stop, ticker, next_url))

    def answer(self, status, pieces):
        """Sends the pieces as one JSON body."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(sum(len(piece) for piece in pieces)))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    def log_message(self, *_):
        """Quiet."""


def main():
    """Serves until it is killed; says when it is ready."""
    Handler.bars = market.Market(market.cache_folder())
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
