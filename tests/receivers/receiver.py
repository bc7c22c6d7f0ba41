"""A back end that takes the webhooks of a Tidings server, verified by the `standardwebhooks` package of PyPI.

usage: receiver.py PORT SECRET FILE

Each event that verifies goes to FILE, as a line of JSON. What does not verify is answered with 400.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PORT, SECRET, FILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            told = Webhook(SECRET).verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            print("refused:", error, file=sys.stderr)
            return self.answer(400)
        with open(FILE, "a") as lines:
            for event in told["events"]:
                lines.write(json.dumps(event) + "\n")
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
