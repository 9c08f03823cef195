"""Fixtures of all tests: small image folders, a picture, and the command as a user calls it."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from agreement import AGREEMENT
from once import made_once
from PIL import Image
from whole_runs import Command, choose_digits

from beit_exp.data.digits import write_digits
from beit_exp.tracking.mlflow_store import open_store

os.environ.setdefault("GLOG_v", "3")
os.environ["LANGUAGE"] = "en"  # what messages are compared with, whoever tests
os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test begins first: at the end it would keep one process waiting for it."""
    items.sort(key=lambda item: item.name != "test_quickstart_learns_the_digits")


def pytest_collection_finish() -> None:
    """Choose the device before anything computes, which is the last moment that MindSpore allows.

    It collects garbage whenever it compiles, and need not look at what was imported.
    """
    if mindspore := sys.modules.get("mindspore"):
        mindspore.set_device("CPU")
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if AGREEMENT:
        terminalreporter.section("agrees with the public originals")
    for part, (difference, within) in AGREEMENT.items():
        terminalreporter.write_line(
            f"{part:50} largest difference {difference:.1e}, allowed {within:.0e}"
        )


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, one for all processes of `pytest -n`."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def digits(shared: Path) -> Path:
    """The digits data set, written once."""
    write_digits(shared / "digits")
    return shared / "digits"


@pytest.fixture(scope="session")
def few_digits(digits: Path, shared: Path) -> Path:
    """A data set of 80 training and 50 validation digits, for runs of seconds."""

    return made_once(shared / "few", lambda folder: choose_digits(digits, folder))


@pytest.fixture(scope="session")
def empty_store(shared: Path) -> Path:
    """A SQLite store with MLflow's tables, which take two seconds to make."""

    def make(folder: Path) -> None:
        open_store(f"sqlite:///{folder / 'mlflow.db'}").search_experiments(max_results=1)

    return made_once(shared / "store", make) / "mlflow.db"


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of an empty store of this test's own, in its folder."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def silent_store(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that nobody answers at, and that is given up at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return "http://127.0.0.1:9"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A bucket on a server of the S3 protocol on the loopback interface; yields (server, boto3
    client).
    """
    import boto3
    from moto.backends import get_backend
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "BEIT_EXP_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="bucket")
    yield server, client
    get_backend(
        "s3"
    ).reset()  # what it holds is the process's, and would be there for the next test
    server.stop()


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A smooth colour picture with some texture."""
    y, x = np.mgrid[0:120, 0:160]
    noise = np.random.default_rng(0).integers(0, 40, (120, 160, 3))
    pixels = np.stack([x * 1.3, y * 1.7, (x + y) * 0.7], axis=-1) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def launch(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def damaged(few_digits: Path, tmp_path: Path) -> Path:
    """A data set with an empty, a truncated and a foreign file among its training images."""
    folder = tmp_path / "damaged"
    shutil.copytree(few_digits, folder)
    files = sorted((folder / "train" / "7").iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:60])
    files[2].write_bytes(b"<html>not found</html>")
    return folder


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    """MLflow leaves its store in the environment, where commands of later tests would find it."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def _eager() -> None:
    """MindSpore's default mode at the start of each test, whatever the one before chose."""
    if mindspore := sys.modules.get("mindspore"):
        mindspore.set_context(mode=mindspore.PYNATIVE_MODE)


@pytest.fixture
def compiled(_eager: None) -> None:
    """Networks are compiled to graphs, as in a run."""
    import mindspore

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
