"""What an order of training costs where files are far away.

`python tests/benchmarks/slow_files.py [DELAY_MS] [MB_PER_S] [IMAGES] [WINDOW] [READ_AHEAD_KB]`
reads an epoch of shards, without decoding, through a file system that answers each request after a
while, and prints how many requests and bytes that took, and how long: in a random order, and in
windows. As root, with libfuse 3 and `pip install mfusepy`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

IMAGE_BYTES = 110_000  # of ImageNet in the mean
SHARD_IMAGES = 250
BATCH = 64


def serve(root: str, mount: str, delay_s: float, bytes_per_s: float, log: str) -> None:
    """Show a folder at another place until that is unmounted; `log` gets a line for each read."""
    import mfusepy

    line = threading.Lock()
    noted = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    class Slow(mfusepy.Operations):
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, float]:
            found = os.lstat(root + path)
            names = ("st_mode", "st_size", "st_nlink", "st_uid", "st_gid")
            return {name: getattr(found, name) for name in names}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(root + path)]

        def open(self, path: str, flags: int) -> int:
            return os.open(root + path, os.O_RDONLY)

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            os.write(noted, f"{size}\n".encode())
            time.sleep(delay_s)
            with line:  # all share it
                time.sleep(size / bytes_per_s)
            return os.pread(fh, size, offset)

    mfusepy.FUSE(Slow(), mount, foreground=True, nothreads=False, ro=True, allow_other=True)


def read_epoch(folder: Path, window: int | None, log: Path) -> str:
    """Read an epoch with an empty cache, and say what it took."""
    from settings import make_config

    from beit_exp.data import archives
    from beit_exp.data.build import Shard, TrainStream, make_ahead
    from beit_exp.data.listing import list_classes

    cfg = make_config(
        "dataset=image_folder",
        "dataset.num_classes=10",
        f"dataset.data_url={folder}",
        f"train.batch_size={BATCH}",
        f"dataset.shuffle_window={window or 'null'}",
    )
    begun = time.perf_counter()
    listed = list_classes(folder / "train")
    listing = time.perf_counter() - begun
    stream = TrainStream(listed, cfg, Shard(0, 1))
    for path in (folder / "train").iterdir():
        with open(path, "rb") as tar:
            os.posix_fadvise(tar.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = len(log.read_text().splitlines())

    def read(number: int) -> int:
        stream.read_ahead(number)
        epoch = stream.order(0)[number * BATCH : (number + 1) * BATCH]
        return sum(len(archives.read(stream.images.paths[index])) for index in epoch)

    begun = time.perf_counter()
    deque(make_ahead(read, range(stream.batches_per_epoch), workers=16), maxlen=0)
    took = time.perf_counter() - begun
    sizes = list(map(int, log.read_text().splitlines()[before:]))
    images = stream.batches_per_epoch * BATCH
    return (
        f"window {window}: {images} images, {len(sizes)} requests of {np.mean(sizes) / 1024:.0f} "
        f"KiB in the mean, {sum(sizes) / 1e6:.0f} MB, {took:.1f} s, {images / took:.0f} images/s; "
        f"listing them before: {before} requests, {listing:.1f} s"
    )


def main(delay_ms: float, mb_per_s: float, images: int, window: int, read_ahead_kb: int) -> None:
    from sharded import write_tar

    with tempfile.TemporaryDirectory() as top:
        rng, root, mount = np.random.default_rng(0), Path(top, "root"), Path(top, "mount")
        mount.mkdir()
        for shard in range(images // SHARD_IMAGES):
            members = []
            for number in range(SHARD_IMAGES):
                size = int(rng.normal(IMAGE_BYTES, IMAGE_BYTES / 4))
                members += [
                    (f"{number}.cls", b"%d" % (number % 10)),
                    (f"{number}.jpg", bytes(size)),
                ]
            write_tar(root / "train" / f"{shard:06d}.tar", members)
        log = Path(top, "log")
        words = [str(root), str(mount), str(delay_ms / 1e3), str(mb_per_s * 1e6), str(log)]
        with subprocess.Popen([sys.executable, __file__, "--serve", *words]) as server:
            while not os.path.ismount(mount):
                time.sleep(0.05)
            device = os.stat(mount).st_dev  # the largest request of the kernel is as large
            advised = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
            advised.write_text(str(read_ahead_kb))
            try:
                for chosen in (None, window):
                    log.write_text("")
                    words = [str(mount), str(chosen or 0), str(log)]
                    subprocess.run([sys.executable, __file__, "--read", *words], check=True)
            finally:
                subprocess.run(["umount", str(mount)], check=True)
                server.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", root, mount, delay_s, bytes_per_s, log]:
            serve(root, mount, float(delay_s), float(bytes_per_s), log)
        case ["--read", folder, window, log]:
            print(read_epoch(Path(folder), int(window) or None, Path(log)), flush=True)
        case words:
            given = [float(word) for word in words]
            usual = (5.0, 500.0, 2000.0, 500.0, 1024.0)
            delay, speed, *counts = [*given, *usual[len(given) :]]
            main(delay, speed, *map(int, counts))
