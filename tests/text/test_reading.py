"""Every file either gives its text, or one error that says what is wrong with it and where."""

import os
import threading

import pytest

from minirnn.text import DataError, read_text


def written(tmp_path, data: bytes):
    path = tmp_path / "corpus.txt"
    path.write_bytes(data)
    return path


def test_reads_utf8_as_it_is(tmp_path):
    text = "naïve — 中文 🙂\n\ttwo\n\n"
    assert read_text(written(tmp_path, text.encode())) == text
    assert read_text(str(tmp_path / "corpus.txt")) == text


def test_line_ends_and_byte_order_mark_do_not_reach_the_vocabulary(tmp_path):
    assert read_text(written(tmp_path, b"\xef\xbb\xbfa\r\nb\rc\n\r\nd")) == "a\nb\nc\n\nd"


def test_other_separators_are_kept(tmp_path):
    text = "a\x0bb\x0cc\x85d\u2028e\ufefff"
    assert read_text(written(tmp_path, text.encode())) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"ab\0cd", r"binary file \(NUL at byte 2, line 1\)"),
        (b"abc\xff", r"not UTF-8 \(byte 0xff at byte 3: invalid start byte, line 1\)"),
        (b"caf\xe9 noir", r"not UTF-8 \(byte 0xe9 at byte 3: invalid continuation byte, line 1\)"),
        (b"\xef\xbb\xbfab\xe9", r"not UTF-8 \(byte 0xe9 at byte 5: unexpected end of data, line 1\)"),
        (b"ok \xed\xa0\x80", r"not UTF-8 \(byte 0xed at byte 3"),  # half of a surrogate pair
        ("text".encode("utf-16"), "UTF-16"),
        ("text".encode("utf-16-le"), r"binary file \(NUL at byte 1, line 1\)"),
    ],
)
def test_refuses_what_is_no_text(tmp_path, data, reason):
    path = written(tmp_path, data)
    with pytest.raises(DataError, match=reason) as caught:
        read_text(path)
    assert repr(str(path)) in str(caught.value)
    assert path.read_bytes() == data


def test_refuses_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match=r"missing\.txt' does not exist"):
        read_text(tmp_path / "missing.txt")
    with pytest.raises(DataError, match="is a directory"):
        read_text(tmp_path)
    with pytest.raises(DataError, match="is a device"):
        read_text("/dev/zero")
    with pytest.raises(DataError, match="cannot be read: Not a directory"):
        read_text(written(tmp_path, b"text") / "below")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        read_text(tmp_path / ("x" * 5000))
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        read_text("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_refuses_a_file_without_permission(tmp_path):
    path = written(tmp_path, b"text")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_text(path)


def test_a_failing_disk_is_a_data_error(tmp_path, monkeypatch):
    def broken(path, mode):
        raise OSError(5, "Input/output error")

    path = written(tmp_path, b"text")
    monkeypatch.setattr("minirnn.text.reading.open", broken, raising=False)
    with pytest.raises(DataError, match="cannot be read: Input/output error"):
        read_text(path)


def test_reads_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"from a pipe",))
    writer.start()
    assert read_text(path) == "from a pipe"
    writer.join()
