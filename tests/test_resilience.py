"""Kills, faults and several processes: what was saved is never lost, and no fault passes silently."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from mlflow import MlflowClient
from test_end_to_end import metrics_of, same_weights, small, without_times

from beit_exp.cluster import free_port
from beit_exp.tracking import read_records
from beit_exp.train.checkpoint import CheckpointFolder, load_checkpoint

pytestmark = pytest.mark.slow

MOMENTS = {  # when a run is killed: a file whose appearance, or a number of records after which, and a delay in s
    "before the first step": ("mlflow.json", 0.0),
    "while compiling": ("plots/batch.png", 1.5),
    "in the first epoch": (2, 0.0),
    "in the middle of a step": (7, 0.013),
    "near the first evaluation": (5, 0.05),
    "in a checkpoint": ("checkpoints/step_00000005.safetensors", 0.0),
    "between checkpoint and best": ("checkpoints/step_00000010.safetensors", 0.004),
    "in a later epoch": (33, 0.0),
    "in a later evaluation": (48, 0.03),
    "near the end": (63, 0.02),
}


def thorough(data: Path, *more: str, epochs: int = 12) -> tuple[str, ...]:
    """Every kind of state at once: augmentation, drop path, averaged weights, a dynamic loss scale, accumulation."""
    return small(
        data,
        "augment=finetune_mixup",
        "model.drop_path_rate=0.2",
        "train.ema_decay=0.9",
        "train.batch_size=8",
        "train.accumulate_steps=2",
        "hardware.amp_level=O1",
        "hardware.is_dynamic_loss_scale=true",
        "hardware.loss_scale=1024",
        "hardware.loss_scale_window=7",
        *more,
        epochs=epochs,
    )


def children(pid: int) -> list[int]:
    """Every process below one."""
    try:
        direct = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return direct + [below for child in direct for below in children(child)]


def wait_for(condition, process: subprocess.Popen[str], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def records(run_dir: Path) -> int:
    return len(read_records(run_dir / "metrics.jsonl")) if (run_dir / "metrics.jsonl").exists() else 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> Path:
    command = Command(tmp_path_factory.mktemp("whole"))
    done = command(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    return command.folder / "run"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_any_moment_resumes_to_the_same_end(
    moment: str, launch: Command, few_digits: Path, uninterrupted: Path
) -> None:
    mark, delay_s = MOMENTS[moment]
    run_dir = launch.folder / "run"
    process = launch.start(*thorough(few_digits), "hydra.run.dir=run")
    reached = (lambda: (run_dir / mark).exists()) if isinstance(mark, str) else (lambda: records(run_dir) >= mark)
    wait_for(reached, process)
    time.sleep(delay_s)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not (run_dir / "metrics.json").exists()
    done = launch(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert without_times(run_dir) == without_times(uninterrupted)
    assert metrics_of(run_dir) == metrics_of(uninterrupted)
    assert same_weights(run_dir, uninterrupted)
    assert [path.name for path in (run_dir / "checkpoints").iterdir() if path.name.startswith(".")] == []
    assert {run.info.status for run in launch.runs() if run.info.run_id == run_id(run_dir)} == {"FINISHED"}


def run_id(run_dir: Path) -> str:
    return json.loads((run_dir / "mlflow.json").read_text())["run_id"]


def test_a_worker_ends_and_saves_when_its_launcher_is_killed(launch: Command, few_digits: Path) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*small(few_digits, epochs=400), "hydra.run.dir=run")
    wait_for(lambda: records(run_dir) >= 8, process)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in workers)
    last = max(record["step"] for record in read_records(run_dir / "metrics.jsonl"))
    assert CheckpointFolder(run_dir / "checkpoints", keep=1).load_newest().state["trainer"]["step"] == last


def test_settings_that_break_the_law_of_a_resumed_run_must_be_named(launch: Command, few_digits: Path) -> None:
    assert launch(*small(few_digits), "hydra.run.dir=run").returncode == 0
    refused = launch(*small(few_digits, epochs=3), "hydra.run.dir=run")
    assert refused.returncode == 2 and "train.epochs: 2 there, 3 here" in refused.stderr
    assert "allow_changes=[train.epochs]" in refused.stderr
    allowed = launch(*small(few_digits, "allow_changes=[train.epochs]", epochs=3), "hydra.run.dir=run")
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    assert metrics_of(launch.folder / "run")["epoch"] == 3


def test_a_full_disk_keeps_the_last_good_checkpoint(launch: Command, few_digits: Path) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*small(few_digits, epochs=400), "hydra.run.dir=run")
    first = run_dir / "checkpoints" / "step_00000005.safetensors"
    wait_for(first.exists, process)
    (worker,) = children(process.pid)
    limit = first.stat().st_size // 2  # no file can grow beyond it: the next checkpoint meets a full disk
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (limit, limit))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, out + err
    assert "could not be written" in out and "The last good one is" in out and "Traceback" not in out + err
    newest = CheckpointFolder(run_dir / "checkpoints", keep=1).newest_first()
    assert newest and load_checkpoint(newest[0]).state["trainer"]["step"] >= 5


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    launch: Command, few_digits: Path, uninterrupted: Path
) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*thorough(few_digits), "hydra.run.dir=run")
    wait_for((run_dir / "checkpoints" / "step_00000020.safetensors").exists, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    newest = CheckpointFolder(run_dir / "checkpoints", keep=1).newest_first()[0]
    content = bytearray(newest.read_bytes())
    content[-1000] ^= 255
    newest.write_bytes(content)
    done = launch(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0
    assert f"{newest.name} is damaged" in done.stdout
    assert same_weights(run_dir, uninterrupted)
    assert without_times(run_dir) == without_times(uninterrupted)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "with a loss scale of 1"),
        (
            (
                "hardware.amp_level=O1",
                "hardware.loss_scale=1024",
                "hardware.max_skipped_steps=4",
            ),
            "in 4 steps in a row",
        ),
    ],
)
def test_diverged_training_stops_with_its_steps_and_its_last_good_checkpoint(
    overrides: tuple[str, ...], message: str, launch: Command, few_digits: Path
) -> None:
    wild = (
        "optimizer=momentum",
        "optimizer.base_lr=1e18",
        "optimizer.clip_global_norm_value=null",
        "scheduler=constant",
    )
    done = launch(*small(few_digits, *wild, "scheduler.warmup_length=1", *overrides, epochs=20), "hydra.run.dir=run")
    assert done.returncode == 2, done.stdout
    assert "training has diverged" in done.stdout and message in done.stdout
    assert "The last good checkpoint is" in done.stdout
    assert [run.info.status for run in launch.runs()] == ["FAILED"]


# --- bad data


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


def test_bad_images_are_found_by_a_scan(launch: Command, damaged: Path, few_digits: Path) -> None:
    done = launch("task=check_data", f"dataset.data_url={damaged}", "hydra.run.dir=scan")
    assert done.returncode == 2 and "3 images cannot be read:" in done.stdout
    listed = (launch.folder / "scan" / "bad_images.txt").read_text().splitlines()
    assert [line.split(" cannot")[0] for line in listed] == [
        str(path) for path in sorted((damaged / "train" / "7").iterdir())[:3]
    ]
    sound = launch("task=check_data", f"dataset.data_url={few_digits}", "hydra.run.dir=sound")
    assert sound.returncode == 0
    assert metrics_of(launch.folder / "sound")["data/train_images"] == 80


def test_bad_images_stop_a_run_or_are_replaced_and_counted(launch: Command, damaged: Path) -> None:
    stopped = launch(*small(damaged), "hydra.run.dir=stopped")
    assert stopped.returncode == 2 and "cannot be read as an image" in stopped.stdout
    assert "Traceback" not in stopped.stdout + stopped.stderr
    replaced = launch(*small(damaged, "dataset.bad_images=replace"), "hydra.run.dir=replaced")
    assert replaced.returncode == 0
    assert metrics_of(launch.folder / "replaced")["data/bad_images"] == 3
    assert replaced.stdout.count("another image takes its place") == 3


def test_a_bad_validation_image_is_never_left_out(launch: Command, few_digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(few_digits, folder)
    victim = sorted((folder / "val" / "2").iterdir())[0]
    victim.write_bytes(b"")
    done = launch(*small(folder, "dataset.bad_images=replace"))
    assert done.returncode == 2 and f"{victim.name} cannot be read" in done.stdout


# --- several processes


def test_two_processes_train_as_one_with_twice_the_batch(launch: Command, few_digits: Path) -> None:
    plain = small(few_digits, "augment=light", "model.drop_path_rate=0.2", epochs=4)
    assert launch(*plain, "train.batch_size=16", "hydra.run.dir=one").returncode == 0
    done = launch(*plain, "train.batch_size=8", "hardware.device_num=2", "hydra.run.dir=two")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, within in (("train/loss", 1e-5), ("train/grad_norm", 1e-4), ("val/top1", 0), ("val/loss", 1e-5)):
        one, two = (
            [record[name] for record in without_times(launch.folder / run) if name in record] for run in ("one", "two")
        )
        assert len(one) == (20 if name.startswith("train") else 4)
        np.testing.assert_allclose(two, one, rtol=0, atol=within, err_msg=name)
    assert len(launch.runs()) == 2
    assert len((launch.folder / "two" / "metrics.jsonl").read_text().splitlines()) == len(
        (launch.folder / "one" / "metrics.jsonl").read_text().splitlines()
    )


def test_evaluation_is_exact_on_any_number_of_processes(launch: Command, few_digits: Path) -> None:
    assert launch(*small(few_digits, epochs=8), "hydra.run.dir=run").returncode == 0
    found = []
    for size in (1, 2, 3):
        done = launch("task=evaluate", "checkpoint=run", f"hardware.device_num={size}", f"hydra.run.dir=eval{size}")
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(metrics_of(launch.folder / f"eval{size}"))
    assert (
        found[0]["val/top1"]
        == found[1]["val/top1"]
        == found[2]["val/top1"]
        == metrics_of(launch.folder / "run")["val/top1"]
    )
    assert found[0]["val/top5"] == found[1]["val/top5"] == found[2]["val/top5"]
    np.testing.assert_allclose([metrics["val/loss"] for metrics in found], found[0]["val/loss"], rtol=1e-6)


def test_a_killed_rank_ends_the_job_with_one_message(launch: Command, few_digits: Path) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*small(few_digits, "hardware.device_num=2", epochs=400), "hydra.run.dir=run")
    wait_for(lambda: records(run_dir) >= 8, process)
    everyone = children(process.pid)
    victim = next(pid for pid in everyone if b"BEIT_EXP_RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    _, err = process.communicate(timeout=90)
    assert time.monotonic() - started < 60
    assert process.returncode == 128 + signal.SIGKILL
    assert err.count("rank 1 of 2 on this node was killed by signal 9; the other ranks were stopped") == 1
    assert not any(is_alive(pid) for pid in everyone)


def test_two_processes_stop_at_a_signal_and_resume_to_the_same_end(launch: Command, few_digits: Path) -> None:
    settings = small(few_digits, "hardware.device_num=2", "train.batch_size=8", epochs=30)
    assert launch(*settings, "hydra.run.dir=whole").returncode == 0
    process = launch.start(*settings, "hydra.run.dir=halved")
    wait_for(lambda: records(launch.folder / "halved") >= 20, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 128 + signal.SIGTERM, out + err
    assert out.count("to go on: python -m beit_exp.worker") == 1
    assert launch(*settings, "hydra.run.dir=halved").returncode == 0
    assert same_weights(launch.folder / "whole", launch.folder / "halved")
    assert without_times(launch.folder / "whole") == without_times(launch.folder / "halved")


# --- object storage, tracking server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A bucket on a server of the S3 protocol on the loopback interface; yields (server, boto3 client)."""
    import boto3
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
    server.stop()


def test_data_weights_and_checkpoint_copies_in_object_storage(s3, launch: Command, few_digits: Path) -> None:
    _, client = s3
    for path in few_digits.rglob("*.png"):
        client.upload_file(str(path), "bucket", f"digits/{path.relative_to(few_digits)}")
    first = launch(
        *small(Path("s3://bucket/digits")).__class__(
            word.replace("s3:/bucket", "s3://bucket") for word in small(Path("s3://bucket/digits"))
        ),
        "dataset.name=image_folder",
        "train.checkpoint_url=s3://bucket/copies",
        "hydra.run.dir=first",
    )
    assert first.returncode == 0, first.stdout + first.stderr
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="bucket", Prefix="copies/")["Contents"]]
    assert keys == ["copies/step_00000005.safetensors", "copies/step_00000010.safetensors"]
    local = launch(*small(few_digits, "model.pretrained=obs://bucket/copies/step_00000010.safetensors"))
    assert local.returncode == 0, local.stdout + local.stderr
    assert "left new       0" in local.stdout
    missing = launch(*small(few_digits, "model.pretrained=s3://bucket/nothing.safetensors"))
    assert missing.returncode == 2 and "the object store has nothing there" in missing.stdout


def test_a_store_that_goes_away_costs_no_checkpoint(s3, launch: Command, few_digits: Path) -> None:
    server, _ = s3
    run_dir = launch.folder / "run"
    process = launch.start(
        *small(few_digits, "train.checkpoint_url=s3://bucket/copies", epochs=30), "hydra.run.dir=run"
    )
    wait_for(lambda: records(run_dir) >= 20, process)
    server.stop()
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err
    assert "was not copied to s3://bucket/copies" in out
    assert CheckpointFolder(run_dir / "checkpoints", keep=1).load_newest().state["trainer"]["step"] == 150


class TrackingServer:
    """A real `mlflow server` on the loopback interface."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> TrackingServer:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=self.folder, **quiet)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2)
            except OSError:
                time.sleep(0.5)
            else:
                return self
        raise TimeoutError("the tracking server did not start")

    def __exit__(self, *_: object) -> None:
        for pid in [*children(self.process.pid), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def test_a_tracking_server_that_goes_away_costs_nothing_that_was_logged(launch: Command, few_digits: Path) -> None:
    server, run_dir = TrackingServer(launch.folder), launch.folder / "run"
    with server:
        process = launch.start(*small(few_digits, f"tracking.uri={server.uri}", epochs=60), "hydra.run.dir=run")
        wait_for(lambda: records(run_dir) >= 30 and (run_dir / "mlflow.json").exists(), process)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "to send it later: python -m beit_exp.report sync" in out
    logged = [record["step"] for record in without_times(run_dir) if "train/loss" in record]
    assert logged == list(range(1, 301))
    with server:
        for _ in range(2):
            sent = subprocess.run([sys.executable, "-m", "beit_exp.report", "sync", str(run_dir)], check=False)
            assert sent.returncode == 0
        client = MlflowClient(server.uri)
        history = client.get_metric_history(run_id(run_dir), "train/loss")
        assert [metric.step for metric in history] == logged
        assert client.get_run(run_id(run_dir)).info.status == "FINISHED"
