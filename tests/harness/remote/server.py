"""A small object store for tests, in one process and in memory: S3, Google's XML API, or Azure's blobs.

It does what a node asks of a store and nothing else: conditional puts, ranges, listings in pages, deletes. It checks the
signatures of S3 and Azure, so that wrong keys are refused. Tests tell it what to do wrong: `POST /_faults` sets a list
of faults, each {"method", "key" (a part of it), "times" (-1: always), "status", "after" (done all the same), "drop",
"delay" (seconds)}; `POST /_keys` sets the keys that are good; `GET /_objects` names what is stored, `GET /_calls` what
was asked. The first line it prints is its port.

Usage: server.py s3|google|azure [--certificate PEM] [--ignore-conditions]
"""

import base64
import hashlib
import hmac
import json
import ssl
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

KIND = sys.argv[1]
IGNORES_CONDITIONS = "--ignore-conditions" in sys.argv
BUCKET = "plant"
PAGE = 50  # Small, so that listings need several pages.

LOCK = threading.Lock()
OBJECTS = {}
FAULTS = []
CALLS = []
# S3: id to secret and session token. Azure: account to key.
KEYS = {
    "WEIRACCESSKEYID": ["weir/secret+access/key", None],
    "weiraccount": [base64.b64encode(b"the key of the account").decode(), None],
}


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def handle_any(self):
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if url.path.startswith("/_"):
            return self.control(url.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        asked = self.query.get("prefix", "") if not key else key
        with LOCK:
            CALLS.append(f"{self.command} {asked}")
            fault = next((f for f in FAULTS if f["times"] and f["method"] in ("", self.command) and f["key"] in asked), None)
            if fault:
                fault["times"] -= 1
        if fault:
            time.sleep(fault.get("delay", 0))
            if not fault.get("after") and (fault.get("drop") or fault.get("status")):
                return self.fail(fault)
        try:
            self.check_signature(url)
            if bucket != BUCKET:
                raise Refused(404, "NoSuchBucket", "The specified bucket does not exist")
            with LOCK:
                answer = self.work(key)
        except Refused as refused:
            answer = self.refusal(refused)
        if fault and fault.get("after"):
            return self.fail(fault)
        self.answer(*answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def control(self, path):
        told = json.loads(self.body or b"null")
        with LOCK:
            if path == "/_faults":
                FAULTS[:] = told
            elif path == "/_keys":
                KEYS.clear()
                KEYS.update(told)
            sizes = [f"{len(OBJECTS[key][0])} {key}" for key in sorted(OBJECTS)] if path == "/_sizes" else []
            told = {"/_objects": sorted(OBJECTS), "/_calls": list(CALLS), "/_sizes": sizes}.get(path, [])
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def fail(self, fault):
        if fault.get("drop"):
            self.close_connection = True
            return
        self.answer(*self.refusal(Refused(fault["status"], "SlowDown", "Please reduce your request rate.")))

    def refusal(self, refused):
        # As S3 does: what was signed and by whom stands in the answer, and must not reach a log of the client.
        signed = self.headers.get("authorization", "")
        token = self.headers.get("x-amz-security-token", "")
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refused.code}</Code>'
            f"<Message>{refused.message}</Message><StringToSign>{escape(signed)}</StringToSign>"
            f"<Token>{escape(token)}</Token></Error>"
        )
        return refused.status, {"Content-Type": "application/xml", "x-ms-error-code": refused.code}, text.encode()

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def work(self, key):
        if self.command == "PUT":
            return self.put(key)
        if self.command == "DELETE":
            return self.delete(key)
        if self.command == "POST":
            return self.delete_batch() if KIND == "azure" else self.delete_many()
        if key:
            return self.get(key)
        return self.list_blobs() if KIND == "azure" else self.list()

    def put(self, key):
        if KIND == "google":
            wanted = self.headers.get("x-goog-if-generation-match")
            found = self.about(key)["x-goog-generation"] if key in OBJECTS else "0"
            is_refused = wanted not in (None, found)
        else:
            is_refused = self.headers.get("if-none-match") == "*" and key in OBJECTS
        if is_refused and not IGNORES_CONDITIONS:
            if KIND == "azure":
                raise Refused(409, "BlobAlreadyExists", "The specified blob already exists.")
            raise Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        OBJECTS[key] = (self.body, time.time())
        return 201 if KIND == "azure" else 200, self.about(key), b""

    def about(self, key):
        body, at = OBJECTS[key]
        tag = hashlib.md5(body).hexdigest()
        return {"ETag": f'"{tag}"', "Last-Modified": formatdate(at, usegmt=True), "x-goog-generation": str(int(at * 1e6))}

    def get(self, key):
        if key not in OBJECTS:
            raise Refused(404, "BlobNotFound" if KIND == "azure" else "NoSuchKey", "The specified key does not exist.")
        body, headers = OBJECTS[key][0], self.about(key)
        wanted = self.headers.get("x-ms-range") or self.headers.get("range")
        if not wanted:
            headers["Content-Length"] = str(len(body))
            return 200, headers, body
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        size = len(body)
        first, last = (int(first), int(last) if last else size - 1) if first else (max(0, size - int(last)), size - 1)
        if first >= size:
            raise Refused(416, "InvalidRange", "The requested range is not satisfiable")
        last = min(last, size - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return 206, headers, body[first : last + 1]

    def delete(self, key):
        was_there = OBJECTS.pop(key, None) is not None
        if KIND != "s3" and not was_there:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        return 202 if KIND == "azure" else 204, {}, b""

    def delete_many(self):
        keys = [k.text for k in ElementTree.fromstring(self.body).iter() if k.tag.rpartition("}")[2] == "Key"]
        for key in keys:
            OBJECTS.pop(key, None)
        told = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return 200, {"Content-Type": "application/xml"}, f"<DeleteResult>{told}</DeleteResult>".encode()

    def delete_batch(self):
        parts = []
        for number, line in enumerate(l for l in self.body.decode().splitlines() if l.startswith("DELETE ")):
            _, _, key = unquote(urlsplit(line.split(" ")[1]).path).lstrip("/").partition("/")
            was_there = OBJECTS.pop(key, None) is not None
            status = "202 Accepted" if was_there else "404 The specified blob does not exist."
            error = "" if was_there else "x-ms-error-code: BlobNotFound\r\n"
            head = f"--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
            parts.append(f"{head}HTTP/1.1 {status}\r\n{error}x-ms-version: 2018-11-09\r\n\r\n")
        return 202, {"Content-Type": "multipart/mixed; boundary=batch"}, ("".join(parts) + "--batch--").encode()

    def page(self, after, start=""):
        prefix = self.query.get("prefix", "")
        found = sorted(key for key in OBJECTS if key.startswith(prefix) and key > after and key >= start)
        return found[:PAGE], len(found) > PAGE

    def list(self):
        after = max(self.query.get("start-after", ""), self.query.get("continuation-token", ""))
        keys, is_cut = self.page(after)
        told = ""
        for key in keys:
            body, at = OBJECTS[key]
            when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
            told += f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><LastModified>{when}</LastModified>"
            told += f"<ETag>{escape(self.about(key)['ETag'])}</ETag></Contents>"
        if is_cut:
            told += f"<NextContinuationToken>{escape(keys[-1])}</NextContinuationToken>"
        text = f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{told}</ListBucketResult>"
        return 200, {"Content-Type": "application/xml"}, text.encode()

    def list_blobs(self):
        keys, is_cut = self.page(self.query.get("marker", ""), self.query.get("startFrom", ""))
        told = ""
        for key in keys:
            about = self.about(key)
            told += f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{about['Last-Modified']}</Last-Modified>"
            told += f"<Content-Length>{len(OBJECTS[key][0])}</Content-Length><Content-Type>x</Content-Type>"
            told += f"<Etag>{escape(about['ETag'])}</Etag></Properties></Blob>"
        marker = escape(keys[-1]) if is_cut else ""
        text = f"<EnumerationResults><Blobs>{told}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        return 200, {"Content-Type": "application/xml"}, text.encode()

    def check_signature(self, url):
        if KIND == "google":
            return
        told = self.headers.get("authorization", "")
        denied = Refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        if KIND == "azure":
            account, _, signature = told.removeprefix("SharedKey ").partition(":")
            if account not in KEYS or signature != self.azure_signature(url, account):
                raise denied
            return
        if not told.startswith("AWS4-HMAC-SHA256 "):
            raise Refused(403, "AccessDenied", "Access Denied")
        parts = dict(part.strip().split("=", 1) for part in told.split(" ", 1)[1].split(","))
        key_id, _, scope = parts["Credential"].partition("/")
        if key_id not in KEYS:
            raise Refused(403, "InvalidAccessKeyId", f"The key {key_id} does not exist in our records.")
        secret, token = KEYS[key_id]
        if self.headers.get("x-amz-security-token") != token:
            raise Refused(400, "ExpiredToken", "The provided token has expired.")
        if parts["Signature"] != self.s3_signature(url, (secret, scope), parts["SignedHeaders"]):
            raise denied

    def s3_signature(self, url, key, names):
        secret, scope = key
        encode = lambda text: quote(text, safe="-_.~")
        pairs = sorted((encode(k), encode(v)) for k, v in parse_qsl(url.query, keep_blank_values=True))
        query = "&".join(f"{name}={value}" for name, value in pairs)
        headers = "".join(f"{name}:{self.headers.get(name, '').strip()}\n" for name in names.split(";"))
        payload = self.headers["x-amz-content-sha256"]
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(self.body).hexdigest():
            return ""
        request = "\n".join([self.command, url.path, query, headers, names, payload])
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = "\n".join(["AWS4-HMAC-SHA256", self.headers["x-amz-date"], scope, digest])
        signing = ("AWS4" + secret).encode()
        for part in scope.split("/"):
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
        return hmac.new(signing, to_sign.encode(), hashlib.sha256).hexdigest()

    def azure_signature(self, url, account):
        names = ["content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
                 "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"]
        values = [self.headers.get(name, "") for name in names]
        values[2] = "" if values[2] == "0" else values[2]
        special = sorted((name.lower(), value) for name, value in self.headers.items() if name.lower().startswith("x-ms-"))
        lines = [self.command, *values, *(f"{name}:{value}" for name, value in special), f"/{account}{url.path}"]
        lines += [f"{name.lower()}:{value}" for name, value in sorted(self.query.items())]
        key = base64.b64decode(KEYS[account][0])
        return base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # A client that was killed hangs up in the middle.


server = Server(("127.0.0.1", 0), Handler)
if "--certificate" in sys.argv:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[sys.argv.index("--certificate") + 1])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
