"""What a slow tracking server costs a step.

`python tests/benchmarks/slow_store.py [PAIRS] [SECONDS]` trains the same in turn with a store on
disk and with a server that sleeps before each answer, and prints the median time of a step of
either.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from beit_exp.tracking.records import read_records

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = 10  # steps at the beginning: the first compiles


class Slow(BaseHTTPRequestHandler):
    """Sleeps, and answers nothing that MLflow could use."""

    sleep_s = 5.0

    def answer(self) -> None:
        time.sleep(self.sleep_s)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PATCH = answer  # noqa: N815 (so the library calls them)

    def log_message(self, format: str, *args: object) -> None:
        pass


def step_s(folder: Path, store: str) -> float:
    """The median step of one training, in seconds."""
    subprocess.run(
        [
            *(
                sys.executable,
                str(ROOT / "launch.py"),
                "train.epochs=12",
                "train.log_every_steps=1",
            ),
            *(f"tracking.uri={store}", f"hydra.run.dir={folder / 'run'}"),
            f"dataset.data_url={folder.parent / 'digits'}",
        ],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    records = read_records(folder / "run" / "metrics.jsonl")
    steps = [record["time/step_s"] for record in records if "time/step_s" in record]
    return statistics.median(steps[LEFT_OUT:])


def main(pairs: int, sleep_s: float) -> None:
    Slow.sleep_s = sleep_s
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found: dict[str, list[float]] = {"disk": [], "slow": []}
    with tempfile.TemporaryDirectory() as top:
        for pair in range(pairs):
            for name in found:
                folder = Path(top, f"{name}{pair}")
                folder.mkdir()
                address = f"http://127.0.0.1:{server.server_port}"
                store = address if name == "slow" else f"sqlite:///{folder / 'mlflow.db'}"
                found[name].append(step_s(folder, store))
                print(f"{pair} {name}: {1e3 * found[name][-1]:.2f} ms a step", flush=True)
    disk, slow = (statistics.median(times) for times in found.values())
    print(f"disk {1e3 * disk:.2f} ms, slow {1e3 * slow:.2f} ms: {slow / disk - 1:+.1%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, float((sys.argv[2:] or ["5"])[0]))
