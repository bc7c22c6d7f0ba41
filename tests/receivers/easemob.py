"""A back end as those of Easemob's callbacks are: the root path, one JSON object with a `callId`, 500 for an array.

usage: easemob.py PORT SECRET FILE

It reads the fields that such a back end reads, with the types that it gives them, and checks `security`, the MD5
of callId, secret and timestamp. Each callback that is as it should be goes to FILE, as a line of JSON.
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, SECRET, FILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]

TEXTS = ["chat_type", "to", "from", "eventType"]
BODY_TEXTS = ["msg", "type", "action", "filename", "url", "thumb", "secret", "thumb_secret"]
BODY_NUMBERS = ["length", "file_length"]


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31


def check(told):
    """Refuses what a Jackson mapping of these fields refuses."""
    assert all(isinstance(told[name], str) for name in TEXTS if name in told)
    payload = told.get("payload", {})
    for body in payload.get("bodies", []):
        assert all(isinstance(body[name], str) for name in BODY_TEXTS if name in body)
        assert all(is_int(body[name]) for name in BODY_NUMBERS if name in body)
        size = body.get("size", {})
        assert isinstance(size, dict) and all(is_int(value) for value in size.values())
    ext = payload.get("ext", {})
    assert all(value is None or isinstance(value, (str, int, float, bool)) for value in ext.values())
    signed = f"{told['callId']}{SECRET}{told['timestamp']}"
    assert told["security"] == hashlib.md5(signed.encode()).hexdigest()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = self.headers["content-type"].split(";")[0]
        if self.path.split("?")[0] != "/" or kind != "application/json":
            return self.answer(415, b"")
        told = json.loads(body)
        if not isinstance(told, dict) or "callId" not in told:
            return self.answer(500, b"")
        try:
            check(told)
        except (AssertionError, KeyError) as error:
            print("refused:", repr(error), body, file=sys.stderr)
            return self.answer(500, b"")
        with open(FILE, "a") as lines:
            lines.write(json.dumps(told) + "\n")
        # The misspelt key is that of the back ends there are; nobody may look for the right one.
        return self.answer(200, json.dumps({"callId": told["callId"], "accpet": "true"}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
