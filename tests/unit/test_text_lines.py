from __future__ import annotations

import gzip
import os
import threading
from typing import TYPE_CHECKING

import pytest

from seqmill._lists import read_regions_file
from seqmill._text_lines import is_gzip, open_bytes, read_lines
from seqmill.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "one\r\ntwo\n\nlast, without an end"
LINES = [(1, "one"), (2, "two"), (3, ""), (4, "last, without an end")]


@pytest.mark.parametrize("packed", [False, True])
def test_content_tells_what_a_file_is(tmp_path: Path, *, packed: bool) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(gzip.compress(TEXT.encode()) if packed else TEXT.encode())
    assert is_gzip(path) is packed
    assert list(read_lines(path)) == LINES
    with open_bytes(path) as file:
        assert file.read() == TEXT.encode()


@pytest.mark.parametrize("packed", [False, True])
def test_pipes_are_read_once(tmp_path: Path, *, packed: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = gzip.compress(TEXT.encode()) if packed else TEXT.encode()
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    assert list(read_lines(path)) == LINES
    writer.join()


def test_empty_files_have_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    assert list(read_lines(path)) == []
    assert not is_gzip(path)


def test_damage_names_the_line(tmp_path: Path) -> None:
    whole = gzip.compress(b"line\n" * 10_000)
    path = tmp_path / "x.gz"
    for damaged in (whole[: len(whole) // 2], whole[:20] + b"\xff" * 20 + whole[40:]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"x.gz: line \d+ cannot be read.*not intact") as told:
            list(read_lines(path))
        assert told.value.path == str(path)


def test_what_is_no_utf8_is_said_or_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(FormatError, match="no UTF-8"):
        list(read_lines(path))
    assert list(read_lines(path, errors="surrogateescape")) == [(1, "a"), (2, "\udcff")]


def test_regions_of_a_job_are_read_as_those_of_fetch(tmp_path: Path) -> None:
    bed = tmp_path / "regions.BED"
    bed.write_text("track name=x\nbrowser position\ntrack\t0\t3\n# c\nchr2 1 2 name\n")
    assert read_regions_file(str(bed)) == ([], [("track", 0, 3), ("chr2", 1, 2)])
    bed.write_text("chr2\t0\t" + "9" * 30)
    with pytest.raises(FormatError, match="line 1 is no BED line"):
        read_regions_file(str(bed))
    texts = tmp_path / "regions.txt"
    texts.write_text("# c\nchr1:1-5\n\nchr2\n")
    assert read_regions_file(str(texts)) == (["chr1:1-5", "chr2"], [])
