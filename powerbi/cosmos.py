"""Asks Cosmos DB over HTTP, signed with a key, as the connector of Power BI does: for the check and the pictures. The official
Python SDK refuses to group across partitions, which is what is to be tried.

https://learn.microsoft.com/rest/api/cosmos-db/query-documents
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Container:
    """A container, and the key that opens it."""

    endpoint: str
    key: str
    database: str
    name: str

    def ask(self, sql: str) -> list[dict]:
        """All answers to a query. A refusal is an HTTPError."""
        answers, continuation = [], None
        while True:
            with urllib.request.urlopen(self._request(sql, continuation), timeout=60) as answer:
                answers += json.load(answer)["Documents"]
                continuation = answer.headers.get("x-ms-continuation")
            if not continuation:
                return answers

    def _request(self, sql: str, continuation: str | None) -> urllib.request.Request:
        link, date = f"dbs/{self.database}/colls/{self.name}", formatdate(usegmt=True)
        signed = f"post\ndocs\n{link}\n{date.lower()}\n\n".encode()
        signature = base64.b64encode(hmac.digest(base64.b64decode(self.key), signed, hashlib.sha256)).decode()
        headers = {
            "authorization": urllib.parse.quote(f"type=master&ver=1.0&sig={signature}", safe=""),
            "content-type": "application/query+json",
            "x-ms-date": date,
            "x-ms-version": "2018-12-31",
            "x-ms-documentdb-isquery": "True",
            "x-ms-documentdb-query-enablecrosspartition": "True",
        }
        if continuation:
            headers["x-ms-continuation"] = continuation
        body = json.dumps({"query": sql, "parameters": []}).encode()
        return urllib.request.Request(urllib.parse.urljoin(self.endpoint, f"{link}/docs"), body, headers)


@contextmanager
def collected(records: int) -> Iterator[Container]:
    """The container of stand-ins that are kept up, with so many records of the simulated tenant collected."""
    command = ["cargo", "run", "--release", "-q", "-p", "activity", "--", "--records-count", str(records), "--keep"]
    if program := os.environ.get("ACTIVITY"):
        command[:7] = [program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as stack:
        try:
            said = ""
            for line in stack.stdout:
                said += line
                if line.startswith("container"):
                    break
            else:
                raise RuntimeError(f"The stand-ins ended early:\n{said}")
            kept = json.loads((ROOT / "target/activity/keep.json").read_text())
            yield Container(kept["endpoint"], kept["key"], kept["database"], kept["container"])
        finally:
            stack.terminate()
            stack.communicate()
