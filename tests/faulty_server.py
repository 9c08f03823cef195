"""A tracking server in this process that does what it is told to do wrong."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

Answer = Literal["500", "401", "403", "later", "html", "empty", "shape", "other"]
Fault = Literal["none", "deaf", "lost", "cut", Answer]
PAGE = b"<html><body>Log in\n</body></html>"
SHAPE = b'{"run": 5, "experiment": "x", "runs": 7}'
OTHER = b'{"run": {"info": {"run_id": "../x"}}, "experiment": {"experiment_id": "9"}}'
WHOLE: dict[str, tuple[int, bytes]] = {  # faults that are an answer -> status and body
    "500": (500, b"oh no"),
    "401": (401, b'{"error_code": "UNAUTHENTICATED", "message": "log in"}'),
    "403": (403, b"forbidden"),
    "later": (429, b"{}"),
    "html": (200, PAGE),
    "empty": (200, b"{}"),
    "shape": (200, SHAPE),
    "other": (200, OTHER),
}


class Runs:
    """What a store holds, by the requests of MLflow's protocol that a run makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, dict[str, Any]] = {}

    def answer(self, request: str, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(asked.get("run_id", ""))
        match request:
            case "experiments/get-by-name":
                return {"experiment": {"experiment_id": "1"}}
            case "runs/create":
                number = secrets.token_hex(16)
                info = {"run_id": number, "artifact_uri": str(self.folder / number)}
                data = {"tags": asked["tags"], "params": [], "metrics": []}
                self.runs[number] = {"info": info | {"status": "RUNNING"}, "data": data}
                return {"run": self.runs[number]}
            case "runs/search":
                key = asked["filter"].split("'")[1]
                return {"runs": [each for each in self.alive() if self.has_tag(each, key)]}
        if run is None:
            return {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}
        match request:
            case "runs/update":
                run["info"]["status"] = asked["status"]
            case "runs/delete":
                run["info"]["lifecycle_stage"] = "deleted"
            case "runs/log-batch":
                for kind in ("metrics", "params", "tags"):
                    run["data"][kind] += [
                        x for x in asked.get(kind, ()) if x not in run["data"][kind]
                    ]
            case "metrics/get-history":
                return {"metrics": self.history(run, asked["metric_key"])}
        return {"run": run, "run_info": run["info"]}

    def alive(self) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if "lifecycle_stage" not in run["info"]]

    @staticmethod
    def has_tag(run: dict[str, Any], value: str) -> bool:
        return any(tag["value"] == value for tag in run["data"]["tags"])

    @staticmethod
    def history(run: dict[str, Any], name: str) -> list[dict[str, Any]]:
        return [metric for metric in run["data"]["metrics"] if metric["key"] == name]


class FaultyServer:
    """`fault` says what is wrong with the answer to a request, by its number and its name."""

    def __init__(self, folder: Path) -> None:
        self.store = Runs(folder)
        self.requests: list[str] = []
        self.fault: Callable[[int, str], Fault] = lambda number, request: "none"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                outer.handle(self)

            do_GET = do_POST = do_PATCH = do  # noqa: N815 (so the library calls them)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> FaultyServer:
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        address = urlsplit(handler.path)
        request = address.path.partition("/mlflow/")[2]
        fault = self.fault(len(self.requests), request)
        self.requests.append(request)
        asked = json.loads(body or "{}") | {
            name: values[0] for name, values in parse_qs(address.query).items()
        }
        status, answer = WHOLE.get(fault, (200, b""))
        if not answer and fault != "deaf":
            found = self.store.answer(request, asked)
            status, answer = 404 if "error_code" in found else 200, json.dumps(found).encode()
        if fault in ("deaf", "lost"):
            return  # hangs up, and has done nothing, or what it was asked
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(answer)))
        if fault == "later":
            handler.send_header("Retry-After", "86400")
        handler.end_headers()
        # One that is cut short has done what it was asked
        handler.wfile.write(answer[: len(answer) // 2] if fault == "cut" else answer)
