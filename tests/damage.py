"""Random damage to files and values, and the required behavior of a command on them."""

import json
import random

from saner_jax.cli import main

# Replacements for a JSON value. Deep nesting is a kind of damage to the text instead.
ODD = (
    *(None, True, False, -1, 0, 3, 0.5, 1e308, -1e308, 2**70, float("nan"), float("inf")),
    *("", "saner", "\x1b[31m\n\0", "\ud800", [], {}, [[]], [None], {"": None}, "9" * 5000),
)
# Contents of files of another kind.
FOREIGN = (
    *(b"", b"\0", b"hello\n", b"PK\x03\x04", b"\x93NUMPY\x01\0", b"\x89PNG\r\n\x1a\n", b"{}"),
    *(b"\x80\x04N.", b"\xff\xd8\xff\xe0", b"[]", b"null", b"[" * 100_000, b"1" * 9000),
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Apply one to three random kinds of damage to a file."""
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(content) + 1), rng.choice((1, 4, 64, 1024))
        way = rng.randrange(8)
        if way == 0:
            content = content[:at]
        elif way == 1 and content:
            flipped = bytearray(content)
            for _ in range(rng.choice((1, 1, 8, 64))):
                flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            content = bytes(flipped)
        elif way == 2:
            content = content[:at] + rng.randbytes(length) + content[at + length :]
        elif way == 3:
            content = content[:at] + bytes(length) + content[at + length :]
        elif way == 4:
            content = content[:at] + content[at + length :]
        elif way == 5:
            content = content[:at] + content[at : at + length] * 2 + content[at + length :]
        elif way == 6:
            character = rng.choice((b"\n", b",", b'"', b"\0", b"-", b"9"))
            content = content[:at] + character + content[at:]
        elif rng.random() < 0.3:
            content = rng.choice(FOREIGN)
    return content


def twisted(value, rng: random.Random):
    """Replace one random element of a JSON value by an unusual one, or remove it."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = rng.choice(list(places))
        value = value.copy()
        if rng.random() < 0.1:
            del value[place]
        else:
            value[place] = twisted(value[place], rng)
        return value
    return rng.choice(ODD)


def damaged_json(text: str, rng: random.Random) -> bytes:
    """Damage a JSON or JSON-lines file: with equal chances its values or its bytes."""
    if rng.random() < 0.5:
        return damaged(text.encode(), rng)
    is_one = text.count("\n{") == 0
    values = [json.loads(text)] if is_one else [json.loads(line) for line in text.splitlines()]
    row = rng.randrange(len(values))
    values[row] = twisted(values[row], rng)
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def told(arguments, capsys):
    """Run a command, which must succeed or refuse in one sentence; return its code and output."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    if code:
        assert code in (1, 2), (code, err)
        last = err.splitlines()[-1]
        assert last.startswith("saner-jax "), err
        assert "Traceback" not in err
        assert err.endswith("\n")
        assert all(c.isprintable() or c == "\n" for c in err), err
    return code, out
