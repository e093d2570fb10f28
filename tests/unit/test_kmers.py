"""Tables and jobs of k-mers from Python."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqmill
from seqmill import _native, errors
from seqmill._kmer_spectrum import read_spectrum
from seqmill.kmers import combine_kmers, count_sequence, run_count


@pytest.fixture(autouse=True, scope="module")
def room_for_the_tests() -> Iterator[None]:
    """What the process of the tests holds counts too: give jobs room beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQMILL_MEMORY", "8G")
        yield


TEXT = ">a x\nACGTACGTNacgtt\nGGG\n>b\nTTTTTTTTTT\n>empty\n>c\nACG-TTA*CGU\n"
BASES = "ACGT"


def oracle(k: int, *, canonical: bool = False) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in TEXT.split(">")[1:]:
        sequence = "".join(record.split("\n")[1:])
        for kmer, count in count_sequence(sequence, k, canonical=canonical).items():
            counts[kmer] = counts.get(kmer, 0) + count
    return dict(sorted(counts.items()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.fa"
    path.write_text(TEXT)
    return path


def as_dict(table: seqmill.KmerTable) -> dict[str, int]:
    columns = table.to_arrow(text=True).to_pydict()
    return dict(zip(columns["kmer"], columns["count"], strict=True))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 10])
@pytest.mark.parametrize("canonical", [False, True])
def test_counts_are_those_of_the_definition(path: Path, k: int, canonical: bool) -> None:  # noqa: FBT001
    table = seqmill.count_kmers(path, k=k, canonical=canonical)
    expected = oracle(k, canonical=canonical)
    assert as_dict(table) == expected
    assert (table.total, table.distinct) == (sum(expected.values()), len(expected))
    assert table.strand == ("canonical" if canonical else "forward")
    table.verify()


@pytest.mark.parametrize("k", [13, 31, 32, 33, 64, 65, 127, 128, 129, 200, 255])
def test_long_kmers(tmp_path: Path, k: int) -> None:
    random = np.random.default_rng(k)
    sequence = "".join(BASES[i] for i in random.integers(0, 4, 3000)) * 2
    path = tmp_path / "long.fa"
    path.write_text(f">x\n{sequence}\n>poly\n{'A' * 700}\n")
    for canonical in (False, True):
        table = seqmill.count_kmers(path, k=k, canonical=canonical, threads=2)
        expected = count_sequence(sequence, k, canonical=canonical)
        poly = count_sequence("A" * 700, k, canonical=canonical)
        for kmer, count in poly.items():
            expected[kmer] = expected.get(kmer, 0) + count
        assert as_dict(table) == dict(sorted(expected.items()))
        some = list(expected)[:50]
        assert table.query(some).tolist() == [expected[kmer] for kmer in some]


def test_look_ups(path: Path) -> None:
    table = seqmill.count_kmers(path, k=3)
    assert table["ACG"] == oracle(3)["ACG"]
    assert table.get("CCC") == 0
    assert table.get("CCC", 7) == 7
    assert "ACG" in table
    assert "CCC" not in table
    assert b"acg" in table
    with pytest.raises(KeyError):
        table["CCC"]
    with pytest.raises(errors.InputError):
        table["ACGT"]
    packed = np.array([0b000110, 0b010101, 1 << 60], np.uint64)
    assert table.query(packed).tolist() == [oracle(3)["ACG"], 0, 0]
    assert table.query(["ACG", "CCC"]).tolist() == [oracle(3)["ACG"], 0]
    assert table.query(b"ACGCCC").tolist() == [oracle(3)["ACG"], 0]
    with pytest.raises(errors.InputError):
        table.query(["NNN"])
    assert table.query(np.zeros(0, np.uint64)).tolist() == []


def test_a_canonical_table_is_asked_on_either_strand(path: Path) -> None:
    table = seqmill.count_kmers(path, k=5, canonical=True)
    assert table["ACGTT"] == table["AACGT"] > 0


def test_tables_are_arrow(path: Path) -> None:
    table = seqmill.count_kmers(path, k=3)
    keys, counts = table.to_numpy()
    assert keys.tolist() == sorted(keys.tolist())
    arrow = pa.table(table)
    assert arrow["kmer"].to_pylist() == keys.tolist()
    assert arrow["count"].to_pylist() == counts.tolist()
    assert arrow.schema.metadata[b"seqmill.k"] == b"3"
    assert pl.DataFrame(table)["count"].to_list() == counts.tolist()
    assert sum(batch.num_rows for batch in table.batches(3)) == len(table)
    assert table.to_polars(text=True)["kmer"].to_list() == list(oracle(3))


def test_formats_say_the_same(path: Path, tmp_path: Path) -> None:
    formats = ["skm", "json", "tsv", "fasta", "hist", "arrow", "parquet"]
    outputs = [(name, str(tmp_path / f"out.{name}")) for name in formats]
    job = run_count(path, outputs, k=4)
    expected = oracle(4)
    assert (job.total, job.distinct) == (sum(expected.values()), len(expected))
    text = (tmp_path / "out.json").read_text()
    assert json.loads(text) == expected
    assert text == json.dumps(expected, separators=(",", ":")) + "\n"
    tsv = "".join(f"{kmer}\t{count}\n" for kmer, count in expected.items())
    assert (tmp_path / "out.tsv").read_text() == tsv
    fasta = "".join(f">{count}\n{kmer}\n" for kmer, count in expected.items())
    assert (tmp_path / "out.fasta").read_text() == fasta
    keys, counts = seqmill.KmerTable(tmp_path / "out.skm").to_numpy()
    parquet = pq.read_table(tmp_path / "out.parquet")
    assert parquet["kmer"].to_pylist() == keys.tolist()
    assert parquet["count"].to_pylist() == counts.tolist()
    with pa.ipc.open_file(tmp_path / "out.arrow") as file:
        assert file.read_all()["kmer"].to_pylist() == keys.tolist()
    assert not list(tmp_path.glob("*.seqmill"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("k", [33, 70])
def test_wide_kmers_in_columns(tmp_path: Path, k: int) -> None:
    path = tmp_path / "in.fa"
    path.write_text(">a\n" + "ACGTTGCAAC" * 20 + "\n")
    run_count(
        path, [("parquet", str(tmp_path / "o.parquet")), ("tsv", str(tmp_path / "o.tsv"))], k=k
    )
    first = pq.read_table(tmp_path / "o.parquet")["kmer"].to_pylist()
    texts = [line.split("\t")[0] for line in (tmp_path / "o.tsv").read_text().splitlines()]
    packed = [int.from_bytes(value) for value in first]
    assert packed == [int("".join(str(BASES.index(b)) for b in text), 4) for text in texts]


def test_filters_are_of_the_table_only(path: Path, tmp_path: Path) -> None:
    table = seqmill.count_kmers(path, k=3, min_count=2, max_count=7, output=tmp_path / "f.skm")
    assert as_dict(table) == {k: c for k, c in oracle(3).items() if 2 <= c <= 7}
    assert table.total == sum(oracle(3).values())
    assert table.filtered
    with pytest.raises(errors.FormatError, match="filtered"):
        seqmill.merge_kmers([table.path, table.path])


def test_set_operations(tmp_path: Path) -> None:
    for name, text in (("a", "ACGTACGTAA"), ("b", "ACGTTTT")):
        (tmp_path / f"{name}.fa").write_text(f">{name}\n{text}\n")
    first, second = (
        seqmill.count_kmers(tmp_path / f"{name}.fa", k=3, output=tmp_path / f"{name}.skm")
        for name in "ab"
    )
    a, b = count_sequence("ACGTACGTAA", 3), count_sequence("ACGTTTT", 3)
    names = sorted({*a, *b})
    assert as_dict(first | second) == {n: a.get(n, 0) + b.get(n, 0) for n in names}
    assert as_dict(first & second) == {n: min(a[n], b[n]) for n in names if n in a and n in b}
    assert as_dict(first - second) == {
        n: a[n] - b.get(n, 0) for n in names if a.get(n, 0) > b.get(n, 0)
    }
    only = combine_kmers("difference", [first.path, second.path])
    assert as_dict(only) == {n: a[n] for n in names if n in a and n not in b}


def test_partials_of_other_tools(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"AAA": 2, "ACG":5}\n')
    (tmp_path / "b.json").write_text(
        '{"kmers": {"ACG": 1}, "metadata": {"k": 3, "strand": "forward", "total_kmers": 1}}'
    )
    (tmp_path / "c.json").write_text(
        '{"chunk_id": 3, "k": 3, "strand": "forward", "kmer_map": {"CCC": 9}}'
    )
    (tmp_path / "d.txt").write_text("TTT 4\nACG\t1\n")
    merged = seqmill.merge_kmers(
        [tmp_path / name for name in ("a.json", "b.json", "c.json", "d.txt")]
    )
    assert as_dict(merged) == {"AAA": 2, "ACG": 7, "CCC": 9, "TTT": 4}
    for text in (
        '{"AAA": -1}',
        '{"AAA": 1',
        '{"AAA": {"B": 1}, "AC": 1}',
        "AAA 1\nAC 2\n",
        "AAA\n",
    ):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(errors.FormatError):
            seqmill.merge_kmers([tmp_path / "a.json", tmp_path / "bad"])


def test_other_k_is_refused_naming_both_files(path: Path, tmp_path: Path) -> None:
    seqmill.count_kmers(path, k=3, output=tmp_path / "three.skm")
    seqmill.count_kmers(path, k=4, output=tmp_path / "four.skm")
    with pytest.raises(errors.FormatError, match=r"three\.skm.*four\.skm"):
        seqmill.merge_kmers([tmp_path / "three.skm", tmp_path / "four.skm"])


def test_profiles(path: Path) -> None:
    table = seqmill.count_kmers(path, k=3)
    profile = table.profile("ACGNACG")
    assert profile.tolist() == [oracle(3)["ACG"], None, None, None, oracle(3)["ACG"]]
    assert len(table.profile("AC")) == 0


def test_tables_pickle_their_path(path: Path, tmp_path: Path) -> None:
    table = seqmill.count_kmers(path, k=3, output=tmp_path / "t.skm")
    again = pickle.loads(pickle.dumps(table))  # noqa: S301 - our own
    assert (again.path, len(again)) == (table.path, len(table))


def test_temporary_tables_go_with_the_object(path: Path, tmp_path: Path) -> None:
    table = seqmill.count_kmers(path, k=3, tmpdir=tmp_path)
    place = table.path
    assert place.exists()
    del table
    assert not place.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.fa"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ACGT\n", "SequenceFormatError"),
        (">a\nAC\0GT\n", "SequenceFormatError"),
        ("@r\nACGT\nIIII\n", "SequenceFormatError"),
        ("@r\nACGT\n+\nIII\n@", "SequenceFormatError"),
        ("@r\nACGT\n+\nII", "TruncatedError"),
    ],
)
def test_bad_input_leaves_nothing(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "bad"
    path.write_text(text)
    with pytest.raises(getattr(errors, kind)) as caught:
        seqmill.count_kmers(path, k=3, output=tmp_path / "out.skm")
    assert str(path) in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad"]


def test_damaged_tables_name_the_block(path: Path, tmp_path: Path) -> None:
    table = seqmill.count_kmers(path, k=5, output=tmp_path / "t.skm")
    content = bytearray(table.path.read_bytes())
    content[90] ^= 1
    (tmp_path / "bad.skm").write_bytes(content)
    with pytest.raises(errors.ChecksumError, match="block 0"):
        seqmill.KmerTable(tmp_path / "bad.skm").verify()
    (tmp_path / "cut.skm").write_bytes(content[:-3])
    with pytest.raises(errors.TruncatedError):
        seqmill.KmerTable(tmp_path / "cut.skm")
    # The footer is plain JSON without a checksum.
    footer = int.from_bytes(content[40:48], "little")
    for at in range(0, footer, 7):
        other = bytearray(table.path.read_bytes())
        other[at] ^= 0x55
        (tmp_path / "bad.skm").write_bytes(other)
        with pytest.raises(errors.FormatError):
            verify(tmp_path / "bad.skm")


def verify(path: Path) -> None:
    seqmill.KmerTable(path).verify()


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"k": 256}, {"k": 3, "min_count": 3, "max_count": 2}]
)
def test_impossible_options(path: Path, options: dict[str, int]) -> None:
    with pytest.raises(errors.InputError):
        seqmill.count_kmers(path, **options)


def test_units_resume_and_merge(path: Path, tmp_path: Path) -> None:
    run_count(path, [("skm", str(tmp_path / "whole.skm"))], k=3)
    run_count(path, [("skm", str(tmp_path / "units.skm"))], k=3, unit_bases=8)
    assert (tmp_path / "whole.skm").read_bytes() == (tmp_path / "units.skm").read_bytes()


def test_regions(tmp_path: Path) -> None:
    path = tmp_path / "r.fa"
    path.write_text(">a\nACGTA\nCGTTT\n>b\nCCCC\n")
    table = seqmill.count_kmers(path, k=3, regions=["a:2-6", "a:4-8"])
    assert as_dict(table) == count_sequence("CGTACGT", 3)
    assert as_dict(seqmill.count_kmers(path, k=3, regions=["b"])) == {"CCC": 2}
    with pytest.raises(errors.NotFoundError):
        seqmill.count_kmers(path, k=3, regions=["z"])


def test_regions_of_reads_are_refused(example_data: Path) -> None:
    with pytest.raises(errors.InputError, match=r"small\.bam: is BAM: reads are not cut"):
        seqmill.count_kmers(example_data / "small.bam", k=3, regions=["chr1:1-100"])


def test_qualities_and_soft_mask(tmp_path: Path) -> None:
    path = tmp_path / "r.fq"
    path.write_text("@r\nACGTACG\n+\nIII#III\n@s\nACgT\n+\nIIII\n")
    assert as_dict(seqmill.count_kmers(path, k=3, min_base_qual=20)) == {"ACG": 3, "CGT": 1}
    assert as_dict(seqmill.count_kmers(path, k=2, soft_mask="skip")) == count_sequence(
        "ACGTACGNAC", 2
    )


def test_reads_of_bam_are_those_of_fastq(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from seqmill import simulate  # noqa: PLC0415 - only here

    genome = simulate.simulate_genome(
        simulate.GenomeOptions(contigs=(("c1", 20_000), ("c2", 18_000))), seed=3
    )
    reads = simulate.simulate_short_reads(genome, simulate.ShortReadOptions(pairs=300), seed=4)
    path = tmp_path / "x.bam"
    reads.write_bam(path)
    fastq = tmp_path / "x.fq"
    pair = str.maketrans("ACGTN", "TGCAN")
    records = pa.table(seqmill.scan_alignments(path)).to_pylist()
    with fastq.open("w") as out:
        for record in records:
            if record["flag"] & 0x900 or not record["seq"]:
                continue
            seq, qual = record["seq"], record["qual"]
            qual = qual if isinstance(qual, str) else "".join(chr(q + 33) for q in qual)
            if record["flag"] & 0x10:
                seq, qual = seq.translate(pair)[::-1], qual[::-1]
            out.write(f"@r\n{seq}\n+\n{qual}\n")
    for options in ({}, {"canonical": True}, {"min_base_qual": 30}):
        for k in (11, 31):
            expected = as_dict(seqmill.count_kmers(fastq, k=k, **options))
            assert expected
            assert as_dict(seqmill.count_kmers(path, k=k, **options)) == expected


def test_an_assembled_genome_has_no_peak() -> None:
    # Repeats of a genome, seen once each: what rises there is noise.
    for histogram in (
        [(1, 1_200_000), (2, 5000), (3, 1000), (4, 1010), (5, 300)],
        [(1, 1_200_000), (2, 5000), (3, 400), (7, 900), (8, 400)],
        [(1, 100)],
        [],
    ):
        spectrum = read_spectrum(histogram, 31)
        assert (spectrum.peaks, spectrum.coverage, spectrum.genome_size) == ((), None, None)


def test_spectrum_of_a_diploid() -> None:
    shape = {1: 5000, 2: 300, 3: 20}
    for center, height in ((20, 400), (40, 2000)):
        for offset in range(-6, 7):
            shape[center + offset] = shape.get(center + offset, 0) + height - 60 * abs(offset)
    histogram = sorted((count, max(number, 1)) for count, number in shape.items())
    spectrum = read_spectrum(histogram, 21)
    assert spectrum.coverage == 40
    assert spectrum.heterozygosity is not None
    assert 0 < spectrum.heterozygosity < 0.02


def test_a_first_kmer_that_makes_the_others_wrap_is_an_error(tmp_path: Path) -> None:
    letters = np.random.default_rng(1).choice(list("ACGT"), 300)
    (tmp_path / "a.fa").write_text(f">a\n{''.join(letters)}\n")
    table = tmp_path / "a.skm"
    seqmill.count_kmers(tmp_path / "a.fa", k=21, output=table)
    data = bytearray(table.read_bytes())
    index, footer = (int.from_bytes(data[at : at + 8], "little") for at in (32, 40))
    data[index : index + 8] = b"\xff" * 8
    # The checksum of the index is right: only the order of the k-mers tells.
    (tmp_path / "index").write_bytes(data[index : footer - 8])
    digest = _native.hash_file(tmp_path / "index")[1]
    data[footer - 8 : footer] = int(digest, 16).to_bytes(8, "little")
    table.write_bytes(data)
    with pytest.raises(errors.FormatError, match="not in order"):
        seqmill.merge_kmers([table], output=tmp_path / "b.skm")
    with pytest.raises(errors.FormatError, match="not in order"):
        seqmill.KmerTable(table).to_numpy()
