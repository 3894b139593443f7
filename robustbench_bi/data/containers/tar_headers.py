"""The headers of a tar archive, one by one: what each file is called, and where its bytes lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from robustbench_bi.errors import DataError

BLOCK = 512
FILES, HARD_LINK, LINKS = (b"0", b"\0", b"7"), b"1", (b"1", b"2")
# The fields of a header: the name, the size in octal, the kind, the target of a link, the mark of the format, and what
# goes before the name.
_NAME, _SIZE, _SUM, _KIND = slice(0, 100), slice(124, 136), slice(148, 156), slice(156, 157)
_TARGET, _MARK, _PREFIX = slice(157, 257), slice(257, 265), slice(345, 500)
_LONG_NAME, _LONG_TARGET, _PAX, _PAX_OF_ALL = b"L", b"K", b"x", b"g"
_WITHOUT_BYTES = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders and pipes, whatever size they state
_END = bytes(BLOCK)


def members(descriptor: int, archive: str, start: int, end: int) -> Iterator[tuple[str, bytes, str, int, int]]:
    """What lies in an archive, in its order.

    Args:
        descriptor: of the open file.
        archive: its path, for messages.
        start: the byte where the archive begins in it.
        end: the byte after its last.

    Yields:
        Name, kind, target if it is a link, where the bytes begin, and how many there are.

    Raises:
        DataError: it is cut short, compressed, or no tar archive.
    """
    if end - start < BLOCK:
        raise DataError(
            f"{archive} is not a tar archive, or is truncated: it has {end - start} bytes; download it again"
        )
    at = start
    told: dict[str, str] = {}
    while at + BLOCK <= end:
        header = os.pread(descriptor, BLOCK, at)
        if header == _END:
            return
        name, length = _fields(header, archive)
        kind, content = header[_KIND], at + BLOCK
        length = 0 if kind in _WITHOUT_BYTES else int(told.get("size", length))
        if content + length > end:
            raise DataError(
                f"{archive} is truncated: {told.get('path') or name} ends beyond the file; download the archive again"
            )
        at = content + -(-length // BLOCK) * BLOCK
        if kind in (_LONG_NAME, _LONG_TARGET, _PAX):
            told |= _told(kind, os.pread(descriptor, length, content))
        elif kind != _PAX_OF_ALL:
            target = told.get("linkpath") or _text(header[_TARGET]) if kind in LINKS else ""
            yield told.get("path") or name, kind, target, content, length
            told = {}
    raise DataError(f"{archive} is truncated: it has no end mark; download the archive again")


def _told(kind: bytes, content: bytes) -> dict[str, str]:
    """What a header of its own says of the next file, by the names of the newer format."""
    if kind != _PAX:
        return {"path" if kind == _LONG_NAME else "linkpath": _text(content)}
    found = {}
    while content:
        length = int(content.split(b" ", 1)[0])
        key, _, value = content[:length].split(b" ", 1)[1].rstrip(b"\n").partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return found


def _fields(header: bytes, archive: str) -> tuple[str, int]:
    """Name and size of a header whose checksum is right."""
    with suppress(ValueError):
        stated = int(header[_SUM].strip(b" \0") or b"-1", 8)
        if stated == sum(header) - sum(header[_SUM]) + 8 * ord(" "):
            # GNU's archives, whose mark has blanks, keep times where others keep the prefix.
            name, prefix = _text(header[_NAME]), _text(header[_PREFIX]) if header[_MARK] == b"ustar\x0000" else ""
            return f"{prefix}/{name}" if prefix else name, _number(header[_SIZE])
    gzip = header[:2] == b"\x1f\x8b"
    if gzip:
        raise DataError(f"{archive} is compressed and cannot be read in place; unpack it with gunzip first")
    raise DataError(f"{archive} is not a tar archive, or is damaged: it has no header; download it again")


def _number(field: bytes) -> int:
    """An octal number, or one in base 256 where it is too large for that."""
    return int.from_bytes(field[1:], "big") if field[0] & 0x80 else int(field.strip(b" \0") or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
