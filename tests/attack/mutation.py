"""Bytes made wrong, in ways that break parsers: by a seed, the same each time."""

from __future__ import annotations

import random
import struct

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)
WORDS = (b"\0", b"-1", b"1e999", b"NaN", b"../", b"\xff\xfe", b"9" * 400, b"{", b"!!", b"&a *a")


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to four changes of a file."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(_CHANGES)(bytearray(content), rng)
    return content


def _flip(content: bytearray, rng: random.Random) -> bytes:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _overwrite(content: bytearray, rng: random.Random) -> bytes:
    if content:
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _cut(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(len(content) + 1)])


def _leave_out(content: bytearray, rng: random.Random) -> bytes:
    # Not 512: a tar without the whole block of a link is a whole tar
    start = rng.randrange(len(content) + 1)
    return bytes(content[:start] + content[start + rng.choice((1, 2, 8, 500)) :])


def _insert(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return bytes(content[:start] + rng.choice(WORDS) + content[start:])


def _repeat(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    part = content[start : start + rng.choice((1, 4, 64, 512))]
    return bytes(content[:start] + part * rng.choice((2, 8, 100)) + content[start:])


def _edge(content: bytearray, rng: random.Random) -> bytes:
    number, width = rng.choice(EDGES), rng.choice((1, 2, 4, 8))
    packed = struct.pack("<Q", number)[:width]
    start = rng.randrange(len(content) + 1)
    content[start : start + width] = packed if rng.random() < 0.5 else packed[::-1]
    return bytes(content)


_CHANGES = (_flip, _flip, _overwrite, _cut, _leave_out, _insert, _repeat, _edge)
