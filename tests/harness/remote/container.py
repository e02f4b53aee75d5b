"""Makes a container in an Azure blob store: container.py URL CONTAINER ACCOUNT KEY. One that is there is as good."""

import base64
import hashlib
import hmac
import sys
from email.utils import formatdate
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

url, container, account, key = sys.argv[1:]
url = f"{url}/{container}"
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
lines += [f"/{account}{urlsplit(url).path}", "restype:container"]
signature = hmac.new(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256).digest()
headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(signature).decode()}"
try:
    urlopen(Request(f"{url}?restype=container", method="PUT", headers=headers | {"Content-Length": "0"}), timeout=10)
except HTTPError as error:
    if error.code != 409:
        sys.exit(f"{error}: {error.read().decode()}")
