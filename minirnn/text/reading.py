"""Reading text files, and the one error that says why data cannot be used."""

from __future__ import annotations

import os
import stat


class DataError(ValueError):
    """Data that cannot be used: a file that is no text, an unseen character, a text that is too short."""


def read_text(path: str | os.PathLike[str]) -> str:
    r"""The text of a UTF-8 file.

    Line ends become ``"\n"``, whether the file has ``"\n"``, ``"\r\n"`` or ``"\r"``, as in Python's own text mode:
    otherwise the vocabulary, and with it the model, would depend on the system on which the file was saved. A byte
    order mark at the beginning is dropped for the same reason. Everything else is kept as it is.

    Parameters
    ----------
    path : str or path-like
        A regular file or a pipe.

    Returns
    -------
    str
        At least one character.

    Raises
    ------
    DataError
        If the file is missing, not readable, a directory or a device, empty, binary (a NUL byte) or not UTF-8; the
        message has the byte offset of the first offence.
    """
    return text_in(bytes_of(path), repr(os.fspath(path)))


def text_in(data: bytes, shown: str) -> str:
    """The text in ``data``, as :func:`read_text` gives it; ``shown`` is what errors call it."""
    text = decoded(data, shown).replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise DataError(f"{shown} is empty; expected a text with at least one character")
    return text


def bytes_of(path: str | os.PathLike[str]) -> bytes:
    """What stands in a file; refuses what is none, and would perhaps never end."""
    shown = repr(os.fspath(path))
    try:
        mode = os.stat(path).st_mode
        is_file = stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
        if is_file:  # /dev/zero would never end
            with open(path, "rb") as file:
                data = file.read()
    except FileNotFoundError:
        raise DataError(f"{shown} does not exist; expected a text file") from None
    except (OSError, ValueError) as error:  # a path with a NUL in it is a ValueError
        raise DataError(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not is_file:
        kind = "a directory" if stat.S_ISDIR(mode) else "a device or a socket"
        raise DataError(f"{shown} is {kind}; expected a text file")
    return data


def decoded(data: bytes, shown: str) -> str:
    """The characters of ``data`` as they are, without the byte order mark."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{shown} is UTF-16 (byte order mark at byte 0); save it as UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise DataError(f"{shown} is a binary file (NUL at byte {nul}, line {_line(data, nul)}); expected UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte order mark that it has taken away.
        offset = error.start + len(data) - len(error.object)
        raise DataError(
            f"{shown} is not UTF-8 (byte {data[offset]:#04x} at byte {offset}: {error.reason}, line "
            f"{_line(data, offset)}); save it as UTF-8"
        ) from None


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
