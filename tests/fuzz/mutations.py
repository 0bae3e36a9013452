# ruff: noqa: E501
"""Damage and forgery: good bytes and a random generator in, bytes out that somebody may hand to a user.

Every function is a function of its arguments: the same `random.Random` gives the same bytes.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import struct
import tarfile
import zlib
from random import Random
from typing import Any

DEEP, DIGITS, LONE = "@deep@", "@digits@", "@lone@"  # what json.dumps cannot write
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e308, float("inf"), float("nan"), 2**31, 2**63, 2**64, 10**15, 10**30,
    10**400, "", "x", "0", "-1", "1e9", "x" * 5000, "\x1b[2J\x1b]0;title\x07", "\u202eevil", "a\0b", "../../outside",
    "/etc/passwd", "C:\\x", "~/x", "a\nb\r\nc", "é" * 300, [], {}, [[]], [1, 2, 3], ["a"] * 50, {"a": {"b": 1}},
    [None] * 20, DEEP, DIGITS, LONE,
)  # fmt: skip
SIZES = (0, 1, 7, 8, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def bytes_of(random: Random, data: bytes) -> bytes:
    """A few random changes of bytes."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(changed) + 1)
        kind = random.randrange(6)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << random.randrange(8)
        elif kind == 1:
            del changed[place:]
        elif kind == 2:
            changed[place:place] = random.randbytes(random.choice((1, 4, 40, 600)))
        elif kind == 3:
            del changed[place : place + random.choice((1, 8, 512))]
        elif kind == 4:
            changed[place : place + 8] = random.choice(SIZES).to_bytes(8, random.choice(("little", "big")))
        else:
            start = random.randrange(len(changed) + 1)
            changed[place:place] = changed[start : start + random.choice((8, 512, 1024))]
    return bytes(changed)


def json_of(random: Random, value: Any) -> str:
    """JSON text of a value in which a few parts are others."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = _change(random, value)
    return dumps(random, value)


def dumps(random: Random, value: Any) -> str:
    text = json.dumps(value)
    depth = random.choice((50, 300, 5000, 100_000))
    text = text.replace(f'"{DEEP}"', "[" * depth + "]" * depth).replace(f'"{DIGITS}"', "9" * 5000)
    text = text.replace(LONE, "\\ud800")
    if random.random() < 0.05 and text.startswith("{"):
        text = "{" + text[1:-1] + "," + text[1:]  # every key twice
    return text


def _change(random: Random, value: Any) -> Any:
    if isinstance(value, (dict, list)) and value and random.random() < 0.85:
        place = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        kind = random.random()
        if kind < 0.1:
            del value[place]
        elif kind < 0.2 and isinstance(value, dict):
            value[str(random.choice(ODD))[:3000]] = value.pop(place)
        elif kind < 0.25 and isinstance(value, list):
            value *= random.choice((2, 100))
        else:
            value[place] = _change(random, value[place])
        return value
    if type(value) is int and random.random() < 0.3:
        return value + random.choice((-1, 1, 10, 10**6, 10**12))
    return copy.deepcopy(random.choice(ODD))


def safetensors_of(random: Random, data: bytes, fix: Any = None, key: str = "distgan") -> bytes:
    """A safetensors file with another header.

    fix: mends the metadata's checksums after the change. key: of distgan's own metadata.
    """
    if random.random() < 0.2:
        return bytes_of(random, data)
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    meta = header.get("__metadata__", {}).get(key)
    if meta is not None and random.random() < 0.6:
        changed = json_of(random, json.loads(meta))
        header["__metadata__"][key] = fix(changed) if fix and random.random() < 0.9 else changed
        text = json.dumps(header)
    elif random.random() < 0.5:
        name = random.choice([name for name in header if name != "__metadata__"])
        header[name][random.choice(("dtype", "shape", "data_offsets"))] = random.choice(
            (*ODD, "F64", "BF16", "F8_E4M3", "F4", "C64", "U64", "BOOL", [0], [2**62, 4], [-1], [0, 2**63], [4, 0])
        )
        text = dumps(random, header)
    else:
        text = json_of(random, header)
    raw = text.encode("utf-8", "surrogatepass")
    length = random.choice(SIZES) if random.random() < 0.1 else len(raw)
    return length.to_bytes(8, "little") + raw + (bytes_of(random, body) if random.random() < 0.2 else body)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, **more: Any) -> bytes:
    """One block of a tar file."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    for key, value in more.items():
        setattr(member, key, value)
    return member.tobuf(tarfile.GNU_FORMAT)[-512:]


def signed(block: bytes) -> bytes:
    """A tar header with its own checksum."""
    block = block[:148] + b" " * 8 + block[156:512]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def pax(**records: Any) -> bytes:
    """A PAX header for the member that follows."""
    text = b""
    for key, value in records.items():
        part = f" {key.replace('__', '.')}={value}\n".encode()
        size = len(part) + 1
        while len(str(size)) + len(part) != size:
            size += 1
        text += str(size).encode() + part
    return header("pax", len(text), tarfile.XHDTYPE) + text + bytes(-len(text) % 512)


def sparse(name: str, size: int) -> bytes:
    """A GNU sparse member: one block here, `size` bytes when read."""
    block = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    block[386:410], block[482] = b"%011o\0%011o\0" % (0, 0), 0
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    return signed(bytes(block))


def tar_of(random: Random, data: bytes) -> bytes:
    """A tar file with a changed or an added member, or changed images."""
    kind = random.random()
    if kind < 0.15:
        return bytes_of(random, data)
    if kind < 0.45 and (images := [at for at in range(0, len(data), 512) if data.startswith(b"\x89PNG", at)]):
        place = random.choice(images)
        size = int(data[place - 512 + 124 : place - 512 + 135], 8)
        changed = png_of(random, data[place : place + size])
        block = bytearray(data[place - 512 : place])
        block[124:136] = b"%011o\0" % len(changed)
        rest = data[place + size + -size % 512 :]
        return data[: place - 512] + signed(bytes(block)) + changed + bytes(-len(changed) % 512) + rest
    places = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"] or [0]
    place = random.choice(places)
    if kind < 0.75:
        start, width = random.choice(
            ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155))
        )
        block = bytearray(data[place : place + 512].ljust(512, b"\0"))
        block[start : start + width] = random.choice(
            (
                random.randbytes(width),
                b"\x80" + random.choice(SIZES).to_bytes(11, "big"),
                b"\xff" * 12,
                b"%011o\0" % random.choice((0, 1, 511, 2**31, 8**11 - 1)),
                random.choice((b"S", b"x", b"g", b"L", b"K", b"1", b"2", b"3", b"5", b"6", b"7", b"\0", b"V")),
                b"../../outside", b"/absolute", b"a.png", b"__x__", b"\xff\xfe\x1b[2J.png", b"x.__key__", b"x.__bad__",
            )
        )[:width].ljust(width, b"\0")  # fmt: skip
        return data[:place] + signed(bytes(block)) + data[place + 512 :]
    added = random.choice(
        (
            sparse("900.png", random.choice(SIZES[:-2])),
            header("900.png", random.choice((0, 2**20, 8**11 - 1))),
            header("900.cls", 3) + b"\x1b[2".ljust(512, b"\0"),
            header("long", random.choice((600, 2**31)), tarfile.GNUTYPE_LONGNAME) + b"x" * 1024,
            header("link.png", 0, tarfile.SYMTYPE, linkname="/etc/passwd"),
            header("device.png", 0, tarfile.CHRTYPE),
            pax(size=random.choice((-5, 10**12, 10**30, "x"))),
            pax(path=random.choice(("../x.png", "\x1b[2J.png", "a" * 9000 + ".png"))),
            pax(GNU__sparse__major=1, GNU__sparse__minor=0, GNU__sparse__realsize=10**13, GNU__sparse__name="9.png"),
            pax(GNU__sparse__map="0,1", GNU__sparse__size=10**13),
            pax(GNU__sparse__size=10**13, GNU__sparse__numblocks=1, GNU__sparse__offset=0, GNU__sparse__numbytes=1),
            pax(comment="x") * random.choice((3, 2000)),
        )
    )
    return data[:place] + added + data[place:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """One part of a PNG, with the right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(random: Random, data: bytes) -> bytes:
    """A PNG with a changed, added or forged part, whose checksums are right."""
    parts, place = [], 8
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        parts.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    kind = random.random()
    if kind < 0.3:
        numbers = [random.choice((0, 1, 32, 33, 50_000, 2**31 - 1)) for _ in range(2)]
        rest = bytes(random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        parts[0] = (b"IHDR", struct.pack(">II", *numbers) + (rest if random.random() < 0.5 else parts[0][1][8:]))
    elif kind < 0.6:
        at = random.randrange(len(parts))
        parts[at] = (parts[at][0], bytes_of(random, parts[at][1]))
    elif kind < 0.9:
        name = random.choice((b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"gAMA", b"pHYs", b"tRNS", b"PLTE", b"cHRM", b"sRGB",
                              b"acTL", b"fcTL", b"fdAT", b"eXIf", b"IHDR", b"IDAT", b"IEND", b"xxxx"))  # fmt: skip
        bomb = b"name\0\0" + zlib.compress(bytes(random.choice((10, 2**21))))
        content = random.choice(
            (b"", b"\0", b"a\0", b"a\0\1", bomb, random.randbytes(26), random.randbytes(3), bytes(768))
        )
        parts.insert(random.randrange(len(parts) + 1), (name, content))
    else:
        return bytes_of(random, data)
    return data[:8] + b"".join(chunk(*part) for part in parts)


PICKLE = (
    b"\x85", b"\x86", b"2", b"]", b"}", b")", b"(", b"s", b"u", b"e", b"R", b"b", b"0", b"1", b"q\x00", b"h\x00", b"h\x01",
    b"r\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"\x94", b"\x95" + b"\xff" * 8, b"\x8e" + b"\xff" * 7 + b"\x7f",
    b"\x96\x00\x00\x00\x00\x10\x00\x00\x00", b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x8b\xff\xff\xff\x7f", b"P0\n",
    b"Q", b"i__main__\nx\n", b"I" + b"9" * 5000 + b"\n", b"L" + b"9" * 5000 + b"L\n", b"F1e999\n", b"V\\ud800\n", b"S'a'\n",
    b"2\x86" * 40, b"\x85" * 3000, b"]" * 3000, b"X\xff\xff\xff\xff", b"T\xff\xff\xff\x7f",
)  # fmt: skip


def pickle_of(random: Random, data: bytes) -> bytes:
    """A pickle with other instructions."""
    if random.random() < 0.4:
        return bytes_of(random, data)
    for _ in range(random.choice((1, 1, 2, 5))):
        place = random.choice(
            (2, random.randrange(len(data)), max(len(data) - 2, 0), random.randrange(min(len(data), 80)))
        )
        data = data[:place] + random.choice(PICKLE) * random.choice((1, 1, 3)) + data[place:]
    return data


def cifar_of(random: Random, data: bytes) -> bytes:
    """A .tar.gz of pickles with another pickle, another tar or another gzip."""
    kind = random.random()
    if kind < 0.15:
        return bytes_of(random, data)
    inner = gzip.decompress(data)
    if kind < 0.5:
        return gzip.compress(tar_of(random, inner), 1)
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(inner)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old.getmembers():
            file = old.extractfile(member)
            content = pickle_of(random, file.read() if file else b"")
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return gzip.compress(out.getvalue(), 1)


YAML = (
    "!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system", "!!int x", "!!float x", "!!bool x",
    "!!timestamp x", "!!timestamp 2001-99-99", "!!binary '*'", "!!set {a}", "!!omap [a]", "!x y", "&a [*a, *a]", "*missing",
    "&a x", "0x_", "0b_", "._", "0x" + "f" * 5000, "9" * 5000, "1:" * 30 + "1", "1e999", ".inf", ".nan", "-.inf", "~", "null",
    "[" * 3000, "{a: " * 3000, "[[[[]]]]", "- - - - -", "{}", "[]", "? x", "|\n  x", "'", '"\\x1b[2J"', '"\\ud800"', "\x1b[2J",
    "\x85", "\u2028", "-1", "0", "1", "1000000000", "1e12", "true", "../../x", "/etc", "https://a:b@c/", "s3://", "a" * 3000,
    "2026-01-01", "<<", "[a, b, a]", "{name: rmsprop}", "{name: [x]}", "{name: nothing}", "%", "@", "`", "---\n", "...\n",
    "1e-300", "1e308", "12", "13", "%YAML 9.9\n---\n", "\t", "100000000000000000000000000000000",
)  # fmt: skip


def yaml_of(random: Random, data: bytes) -> bytes:
    """A configuration with other values, lines or bytes."""
    lines = data.decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines))
        head = lines[place].split(":")[0]
        kind = random.randrange(8)
        if kind < 4:
            lines[place] = f"{head}: {random.choice(YAML)}"
        elif kind == 4:
            lines.insert(place, lines[place])
        elif kind == 5:
            lines[place] = f"{head[: len(head) - len(head.lstrip())]}{random.choice(YAML)}: {random.choice(YAML)}"
        elif kind == 6:
            lines.insert(place, random.choice(YAML))
        else:
            lines[place] = " " * random.randrange(6) + lines[place]
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    return bytes_of(random, text) if random.random() < 0.1 else text


def lines_of(random: Random, data: bytes) -> bytes:
    """A file of JSON lines with other lines."""
    lines = data.splitlines(keepends=True)
    for _ in range(random.choice((1, 2, 5))):
        place = random.randrange(len(lines))
        lines[place] = json_of(random, json.loads(lines[0])).encode("utf-8", "surrogatepass") + b"\n"
        lines[0] = data.splitlines(keepends=True)[0] if place else lines[0]
        if place == 0:
            break
    text = b"".join(lines)
    return bytes_of(random, text) if random.random() < 0.3 else text
