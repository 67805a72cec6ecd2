"""Changes to bytes: blind ones, and ones inside a container, whose checksums and lengths are made right again.

Behind a wrong checksum a decoder is never reached; so half of the changes are made to what a gzip stream, a PNG's
chunks or an archive's members hold.
"""

import gzip
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

Change = Callable[[bytes], bytes]

#: Bytes that are unpacked to be changed.
LARGEST = 2**20
_EDGES = (0, 1, -1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_WORDS = (b"-1", b"0", b"1e999", b"NaN", b"-0.0", b"9" * 30, b"null", b"[]", b"{}", b'"', b"#", b"../", b"\n", b"\0")
_PNG = b"\x89PNG\r\n\x1a\n"


def mutated(data: bytes, rng: random.Random, change: Change) -> bytes:
    """`data` with a change, half of the time inside the container that it is, if it is one."""
    if rng.random() < 0.5:
        inside = _IN.get(data[:2])
        try:
            if inside is not None:
                return inside(data, rng, change)
        except Exception:  # noqa: S110  (broken by an earlier change: it is changed as it is)
            pass
    return change(data)


def blind(data: bytes, rng: random.Random, largest: int, others: list[bytes]) -> bytes:
    """A few changes anywhere: bits, numbers of every size, digits, pieces cut, doubled, or taken from other inputs."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.choice((1, 2, 4, 16, 256)))
        match rng.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                size = rng.choice((2, 4, 8))
                number = rng.choice(_EDGES) % 256**size
                changed[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
            case 3:
                del changed[at:end]
            case 4:
                changed[at:at] = changed[at:end] * rng.choice((1, 2, 50))
            case 5:
                del changed[at:]
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                changed[at:end] = other[start : start + rng.choice((4, 64, 1024))]
            case _:
                digits = list(re.finditer(rb"-?[\d.]+(?:e-?\d+)?", changed[: 2**14]))
                span = rng.choice(digits).span() if digits else (at, at)
                changed[slice(*span)] = rng.choice(_WORDS)
        del changed[largest:]
    return bytes(changed)


def _in_gzip(data: bytes, _rng: random.Random, change: Change) -> bytes:
    return gzip.compress(change(zlib.decompressobj(31).decompress(data, LARGEST)), 1, mtime=0)


def _in_png(data: bytes, rng: random.Random, change: Change) -> bytes:
    chunks, at = [], len(_PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack(">L", data[at : at + 4])
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + length]])
        at += 12 + length
    chosen = rng.choice(chunks)
    if chosen[0] == b"IDAT" and rng.random() < 0.7:
        chosen[1] = zlib.compress(change(zlib.decompressobj().decompress(chosen[1], LARGEST)), 1)
    else:
        chosen[1] = change(chosen[1])
    sums = (struct.pack(">L", zlib.crc32(name + content)) for name, content in chunks)
    return _PNG + b"".join(
        struct.pack(">L", len(content)) + name + content + crc
        for (name, content), crc in zip(chunks, sums, strict=True)
    )


def _in_zip(data: bytes, rng: random.Random, change: Change) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = file.infolist()
        contents = []
        for entry in entries:
            with file.open(entry) as member:
                contents.append(member.read(min(entry.file_size, LARGEST)))
    chosen, buffer = rng.randrange(len(entries)), io.BytesIO()
    contents[chosen] = mutated(contents[chosen], rng, change)  # which may be a container itself
    with zipfile.ZipFile(buffer, "w") as file:
        for entry, content in zip(entries, contents, strict=True):
            file.writestr(zipfile.ZipInfo(entry.filename), content, entry.compress_type)
    return buffer.getvalue()


_IN = {b"\x1f\x8b": _in_gzip, _PNG[:2]: _in_png, b"PK": _in_zip}
