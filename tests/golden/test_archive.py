"""Archives made by the reference program: everything must come out bit by bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from seqmill.archive import Archive
from seqmill.errors import FormatError

INVALID = (
    "empty", "seven_bytes", "truncated_half", "truncated_1", "footer_length_huge",
    "footer_length_beyond_file", "stream_count_wide", "footer_bitflips", "version_4",
    "fasta_not_archive",
)  # fmt: skip
DAMAGED = ("bad_frame_magic", "bad_marker", "bad_match_length", "bad_collection_details")
GOLDEN = (
    "mers_default", "mers_k21_s1000", "mers_small_packs", "mers_k32_l32", "mers_adaptive_fallback",
    "mers_appended", "mers_concatenated", "mers_file_version_1", "mers_file_version_2",
    "chlamydia_default", "chlamydia_k21_s10000", "chlamydia_adaptive",
    "chlamydia_appended_adaptive", "lpa_k21_s5000", "edge_k21_s1000", "edge_adaptive",
)  # fmt: skip


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def load(shared_data: Path, name: str) -> tuple[Path, dict[str, Any]]:
    folder = shared_data / "agc"
    return folder / f"{name}.agc", json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_every_contig_comes_out(shared_data: Path, name: str) -> None:
    path, expected = load(shared_data, name)
    with Archive(path) as archive:
        assert sorted(archive, key=str.encode) == expected["listset"]
        assert archive.reference == expected["reference"]
        for sample, told in expected["samples"].items():
            contigs = archive[sample].contigs
            assert [(c.header, c.length) for c in contigs] == [
                (c["name"], c["length"]) for c in told["contigs"]
            ]
            for contig, known in zip(contigs, told["contigs"], strict=True):
                assert sha256(contig.text()) == known["sha256"]


@pytest.mark.parametrize("name", GOLDEN)
def test_ranges_come_out(shared_data: Path, name: str) -> None:
    path, expected = load(shared_data, name)
    with Archive(path) as archive:
        for query in expected["ranges"]:
            place, _, numbers = query["query"].rpartition(":")
            contig, _, sample = place.rpartition("@")
            first, last = map(int, numbers.split("-"))
            found = archive[sample][contig]
            # The reference program's numbers are 0-based with both ends included, and clipped.
            text = found.sequence(first, min(last + 1, found.length)).tobytes()
            assert sha256(text) == query["sha256"]


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("threads", [1, 3])
def test_collections_come_out(shared_data: Path, tmp_path: Path, name: str, threads: int) -> None:
    path, expected = load(shared_data, name)
    out = tmp_path / "all.fa"
    with Archive(path) as archive:
        order = list(archive)
        if archive.version < (3, 0):
            # What the reference program writes of old archives is ordered by name.
            order.sort(key=str.encode)
        done = archive.unpack(out, samples=order, threads=threads)
        assert sha256(out.read_bytes()) == expected["getcol_sha256"]
        assert done.bases == sum(
            c["length"] for s in expected["samples"].values() for c in s["contigs"]
        )
        assert archive.verify(threads=threads).ok
        sample = order[-1]
        archive.unpack(out, samples=sample, line_width=60, force=True)
        known = expected["samples"][sample]["getset_l60_sha256"]
        assert sha256(out.read_bytes()) == known


@pytest.mark.parametrize("name", INVALID)
def test_what_is_no_archive_is_refused(shared_data: Path, name: str) -> None:
    path = shared_data / "agc" / "invalid" / f"{name}.agc"
    with pytest.raises(FormatError) as caught:
        Archive(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_an_error_when_it_is_met(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "agc" / "invalid" / f"{name}.agc"
    with Archive(path) as archive:
        assert len(list(archive)) == 6
        out = tmp_path / "all.fa"
        with pytest.raises(FormatError) as caught:
            archive.unpack(out)
        assert caught.value.path == str(path)
        assert caught.value.offset is not None
        assert list(tmp_path.iterdir()) == []
        with pytest.warns(UserWarning, match="group|batch|sample"):
            found = archive.verify()
        assert not found.ok
        assert all(isinstance(fault, FormatError) for fault in found.faults)
