"""A link between two network namespaces that delays every frame and loses some of them.

python poor_link.py ONE OTHER: makes the interface eth0 in both, says so, and lasts until it is
killed. What `tc qdisc add ... netem delay 5ms loss 1%` does, which not every kernel has.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

# Each way. MindSpore waits 3 x 10 ms for a connection (tcp_comm.cc): 50 ms would be too much
DELAY_S = 0.005
LOSS = 0.01
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
MAX_FRAME = 65536


def enter(namespace: str) -> None:
    with open(namespace) as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"{namespace} cannot be entered")


def open_end(host: str) -> int:
    """The interface eth0 of a host, as a file descriptor: a frame is a read, or a write."""
    enter(f"/run/netns/{host}")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", b"eth0", IFF_TAP | IFF_NO_PI))
    enter(f"/proc/{os.getppid()}/ns/net")
    return end


def carry(one: int, other: int) -> None:
    """Carry frames both ways, for ever."""
    far = {one: other, other: one}
    draw = random.Random(0)
    under_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for end in select.select([one, other], [], [], wait_s)[0]:
            frame = os.read(end, MAX_FRAME)
            if draw.random() >= LOSS:
                under_way.append((time.monotonic() + DELAY_S, far[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, end, frame = under_way.popleft()
            os.write(end, frame)


if __name__ == "__main__":
    ends = [open_end(host) for host in sys.argv[1:]]
    print("ready", flush=True)
    carry(*ends)
