"""The conformance files of the SAM specification: what must be read and what must not.

`failed/hdr.HD3.sam` and `passed/hdr.HD6.sam` have the same bytes: the specification came to allow
`GO:none`, so that the first one is read.
"""

import tarfile
from pathlib import Path

import pytest

import seqmill
from seqmill import errors
from tests.conftest import find_shared_data

SHARED = find_shared_data()
ARCHIVE = None if SHARED is None else SHARED / "real/spec/hts-specs_sam_bam_conformance.tar.gz"
pytestmark = pytest.mark.skipif(ARCHIVE is None, reason="no shared data")
SAME_AS_ONE_THAT_PASSES = "hdr.HD3.sam"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the unpacked files."""
    assert ARCHIVE is not None
    folder = tmp_path_factory.mktemp("conformance")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "test"


def records_of(path: Path, threads: int, *, strict: bool) -> int:
    with seqmill.scan_alignments(path, threads=threads, strict=strict) as scan:
        return sum(batch.num_rows for batch in scan)


def lines_of(path: Path) -> int:
    return sum(1 for line in path.read_bytes().splitlines() if not line.startswith(b"@"))


@pytest.mark.filterwarnings("ignore:.*(flagged as unmapped|read as N)")
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_valid_files_are_read_strictly(files: Path, threads: int) -> None:
    paths = sorted([*files.glob("sam/passed/*.sam"), *files.glob("SAMtags/*.sam")])
    assert len(paths) == 87
    found = {path.name: records_of(path, threads, strict=True) for path in paths}
    assert found == {path.name: lines_of(path) for path in paths}
    for path in files.glob("bam/passed/*.bam"):
        assert records_of(path, threads, strict=True) > 0


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_invalid_files_fail_with_their_line(files: Path, threads: int) -> None:
    paths = sorted(files.glob("sam/failed/*.sam"))
    assert len(paths) == 108
    for path in paths:
        if path.name == SAME_AS_ONE_THAT_PASSES:
            twin = files / "sam/passed/hdr.HD6.sam"
            assert path.read_bytes() == twin.read_bytes()
            continue
        with pytest.raises((errors.SamError, errors.HeaderError)) as caught:
            records_of(path, threads, strict=True)
        assert caught.value.line is not None, path.name
        is_header = path.name.startswith("hdr.")
        assert isinstance(caught.value, errors.HeaderError) or not is_header, path.name


def test_faults_name_the_field_of_the_file(files: Path) -> None:
    for path in sorted(files.glob("sam/failed/*.sam")):
        name = path.name.split(".")[0]
        if name == "hdr":
            continue
        with pytest.raises((errors.SamError, errors.HeaderError)) as caught:
            records_of(path, 2, strict=True)
        field = getattr(caught.value, "field", None)
        if isinstance(caught.value, errors.HeaderError):
            # A name of a reference is found where it is declared.
            assert name in ("rname", "rnext"), path.name
        elif name == "aux":
            assert field == "tags", path.name
        else:
            # Lengths that differ may be told of either field.
            assert field == name or (name, field) == ("cigar", "qual"), path.name


def test_damaged_lines_may_be_skipped(tmp_path: Path) -> None:
    lines = [f"r{i}\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI" for i in range(100)]
    lines[7] += "\tXA:A:ab"
    lines[50] = "no fields"
    source, listed = tmp_path / "x.sam", tmp_path / "bad.tsv"
    source.write_text("@CO\tx\n" + "\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="2 damaged records were skipped"):
        done = seqmill.convert(
            source, tmp_path / "out.parquet", on_bad_record="skip", bad_records=listed
        )
    assert (done.records, done.metrics.detail["records_bad"]) == (98, 2)
    rows = [line.split("\t") for line in listed.read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["7", "50"]
    assert ["A is not one character" in row[2] for row in rows] == [True, False]
