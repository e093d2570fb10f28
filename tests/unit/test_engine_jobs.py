"""K-mers and coverage in units: the bytes of the undivided jobs, whatever is damaged between."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import seqmill
from seqmill import _native
from seqmill.engine import LocalEngine, UnitResult
from seqmill.engine import coverage as coverage_module
from seqmill.engine import kmers as kmers_module
from seqmill.engine.kmers import plan_batches
from seqmill.engine.parts import is_whole, publish
from seqmill.errors import FormatError, InputError, NotFoundError, OutputExistsError
from seqmill.kmers import plan_chunks, run_count
from tests.engine_jobs import count, measure, write_genome

UNIT = 12_000


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as opened:
        yield opened


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_genome(tmp_path_factory.mktemp("genome") / "g.fa")


@pytest.fixture(scope="module")
def whole(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return count(genome, tmp_path_factory.mktemp("whole"))


def test_counts_are_the_same_on_units(
    engine: LocalEngine, genome: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    packed = tmp_path / "g.fa.gz"
    _native.bgzf_compress_file(genome, packed, memory=1 << 32)
    assert len(plan_batches([str(genome)], UNIT)) > 5
    assert len(plan_batches([str(packed)], UNIT)) > 5
    made = count(genome, tmp_path / "a", engine=engine, unit_bases=UNIT)
    assert made == whole
    # The size of a file and its name stand in the table; what was counted does not change.
    plain = count(packed, tmp_path / "b")
    assert count(packed, tmp_path / "c", engine=engine, unit_bases=UNIT) == plain
    assert plain["json"] == whole["json"]
    assert not list(tmp_path.rglob("*.seqmill"))


@pytest.mark.parametrize("k", [1, 11, 33, 70])
def test_any_cut_gives_the_same_counts(engine: LocalEngine, tmp_path: Path, k: int) -> None:
    text = ">a b\nACGTNACGT\n\nACG\nTTacgtnAC\r\n>a\n>c\n\n" + "ACGGT" * 30 + "\nAC\n>d\nACGTACGTTT"
    source = tmp_path / "s.fa"
    for name, body in (("lines", text), ("long", text.replace("T\n", "T"))):
        source.write_text(body)
        for soft_mask in ("keep", "skip"):
            options: dict[str, Any] = {"k": k, "soft_mask": soft_mask, "force": True}
            outputs = [("skm", str(tmp_path / f"{name}.skm")), ("tsv", str(tmp_path / "o.tsv"))]
            run_count([source, source], outputs, **options)
            alone = [Path(path).read_bytes() for _, path in outputs]
            for unit in (1, 7, 20):
                run_count([source, source], outputs, engine=engine, unit_bases=unit, **options)
                assert [Path(path).read_bytes() for _, path in outputs] == alone, (name, unit)


def test_filters_and_columns_act_on_sums(
    engine: LocalEngine, example_data: Path, tmp_path: Path
) -> None:
    inputs = [example_data / "genome.fa.gz", example_data / "genome.fa.gz"]
    for format_name in ("parquet", "arrow", "tsv", "skm", "hist", "fasta"):
        options: dict[str, Any] = {"k": 9, "min_count": 4, "max_count": 30}
        one, two = (str(tmp_path / f"{name}.{format_name}") for name in "ab")
        alone = run_count(inputs, [(format_name, one)], **options)
        done = run_count(inputs, [(format_name, two)], engine=engine, unit_bases=9000, **options)
        assert Path(one).read_bytes() == Path(two).read_bytes(), format_name
        assert (done.total, done.distinct, done.stored) == (
            alone.total,
            alone.distinct,
            alone.stored,
        )
        assert done.histogram == alone.histogram
        assert done.inputs == alone.inputs


def test_regions_and_table_objects(engine: LocalEngine, example_data: Path, tmp_path: Path) -> None:
    source = example_data / "genome.fa.gz"
    table = seqmill.count_kmers(source, k=15, regions=["chr1:1-5,000"])
    again = seqmill.count_kmers(
        source, k=15, regions=["chr1:1-5,000"], engine=engine, tmpdir=tmp_path
    )
    assert again.total == table.total
    assert again.metrics.engine["name"] == "local"
    with pytest.raises(InputError, match="standard input"):
        run_count("-", [("skm", str(tmp_path / "x.skm"))], engine=engine)
    (tmp_path / "y.skm").touch()
    with pytest.raises(OutputExistsError, match="--force"):
        run_count(source, [("skm", str(tmp_path / "y.skm"))], engine=engine)


def test_many_partial_tables_are_merged_in_two_steps(
    engine: LocalEngine,
    genome: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kmers_module, "_TABLES_MAX", 3)
    made = count(genome, tmp_path / "a", engine=engine, unit_bases=UNIT)
    assert made == whole


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_partial_table_is_counted_again(
    *,
    engine: LocalEngine,
    genome: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    """Partial tables are damaged when all are there, and parts when all ranges are merged."""
    spoiled: list[str] = []
    original = kmers_module.Counting._merge

    def merge(self: Any, partial: list[UnitResult]) -> list[str]:
        parts, table = self.running.journal.parts, partial[1].files[0]["name"]
        _spoil(parts / table, damage)
        merged = original(self, partial)
        assert len(merged) > 1
        _spoil(parts / merged[-1], damage)
        spoiled.extend([table, merged[-1]])
        return merged

    monkeypatch.setattr(kmers_module.Counting, "_merge", merge)
    assert count(genome, tmp_path / "a", engine=engine, unit_bases=UNIT) == whole
    assert len(spoiled) == 2


def test_parts_that_are_tables_have_a_digest_that_their_writer_tells(
    engine: LocalEngine, genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every changed byte of a table makes another digest or an error."""
    seen: list[tuple[Path, dict[str, Any]]] = []
    original = kmers_module.Counting._merge

    def merge(self: Any, partial: list[UnitResult]) -> list[str]:
        file = partial[0].files[0]
        part = self.running.journal.parts / file["name"]
        shutil.copyfile(part, tmp_path / file["name"])
        seen.append((tmp_path / file["name"], dict(file)))
        return original(self, partial)

    monkeypatch.setattr(kmers_module.Counting, "_merge", merge)
    count(genome, tmp_path / "a", engine=engine, unit_bases=UNIT)
    table, file = seen[0]
    assert "xxh3" not in file
    assert _native.kmers_digest(table) == (file["bytes"], file["skm"])
    assert is_whole(tmp_path, [file])
    data = table.read_bytes()
    for place in [*range(70), *range(70, len(data), 397), *range(len(data) - 70, len(data))]:
        table.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not is_whole(tmp_path, [file]), place
    table.write_bytes(data)
    assert publish(table, tmp_path / file["name"], file["skm"]) == [file]


def _spoil(path: Path, damage: str) -> None:
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def test_sums_beyond_64_bits_are_an_error(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        text = tmp_path / f"{number}.txt"
        text.write_text(f"ACG {(1 << 63) + number}\n")
        paths.append(text)
    with pytest.raises(FormatError, match="beyond 64 bits"):
        seqmill.merge_kmers(paths, output=tmp_path / "x.skm")


def test_bad_sequence_fails_as_it_does_alone(engine: LocalEngine, tmp_path: Path) -> None:
    source = tmp_path / "bad.fa"
    source.write_bytes(b">a\n" + b"ACGTACGTAC\n" * 400 + b"ACG\x01T\n" + b"ACGTACGTAC\n" * 400)
    with pytest.raises(FormatError, match="characters other than") as alone:
        count(source, tmp_path / "a")
    with pytest.raises(FormatError, match="characters other than") as divided:
        count(source, tmp_path / "b", engine=engine, unit_bases=1000)
    assert divided.value.offset == alone.value.offset
    assert not list(tmp_path.rglob("*.seqmill"))
    assert not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize("name", ["small.bam", "genome.fa.gz"])
def test_coverage_is_the_same_on_units(
    engine: LocalEngine, example_data: Path, tmp_path: Path, name: str
) -> None:
    source = example_data / name
    runs = {"per_base": tmp_path / "a.bed.gz"} if name == "small.bam" else {}
    other = {"per_base": tmp_path / "b.bed.gz"} if runs else {}
    whole = measure(source, tmp_path / "a", **runs)
    made = measure(source, tmp_path / "b", engine=engine, unit_bases=10_000, **other)
    assert made == whole
    if runs:
        assert (tmp_path / "a.bed.gz").read_bytes() == (tmp_path / "b.bed.gz").read_bytes()
    listed: Any = ["chr2:5-9,000", "chr1:1-300", "chr1:200-20,000", "chr1", "chr2:5-9,000"]
    for number, options in enumerate(({}, {"bins": 3, "value": "max", "mates": "once"})):
        one, two = tmp_path / f"c{number}", tmp_path / f"d{number}"
        table = seqmill.measure_coverage(source, listed, output=one, parquet=True, **options)
        done = seqmill.measure_coverage(
            source, listed, output=two, parquet=True, engine=engine, unit_bases=100, **options
        )
        for path in (path for path in one.rglob("*") if path.is_file()):
            assert (two / path.relative_to(one)).read_bytes() == path.read_bytes(), path
        assert done.metrics.totals["units_run"] > 1
        assert done.metrics.detail["profile"] == table.metrics.detail["profile"]


def test_alignments_without_an_index_are_one_unit(
    engine: LocalEngine, example_data: Path, tmp_path: Path
) -> None:
    source = tmp_path / "x.bam"
    shutil.copy(example_data / "small.bam", source)
    whole = measure(source, tmp_path / "a")
    assert measure(source, tmp_path / "b", engine=engine, unit_bases=1000) == whole


def test_damaged_share_is_measured_again(
    engine: LocalEngine, example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = example_data / "small.bam"
    whole = measure(source, tmp_path / "a")
    original = coverage_module._sound
    spoiled: list[Path] = []

    def spoil(running: Any, pair: Any) -> Any:
        unit, _ = pair
        if not spoiled:
            path = running.journal.parts / unit.name / "rows"
            _spoil(path, "flip")
            spoiled.append(path)
        return original(running, pair)

    monkeypatch.setattr(coverage_module, "_sound", spoil)
    made = measure(source, tmp_path / "b", engine=engine, unit_bases=10_000)
    assert made == whole
    assert spoiled


def test_coverage_refuses_as_it_does_alone(
    engine: LocalEngine, example_data: Path, tmp_path: Path
) -> None:
    source = example_data / "small.bam"
    for output in ("a", "b"):
        options = {"engine": engine} if output == "b" else {}
        with pytest.raises(NotFoundError, match="chrX"):
            seqmill.measure_coverage(source, ["chrX"], output=tmp_path / output, **options)
        assert not list(tmp_path.iterdir())
    seqmill.measure_coverage(source, ["chr1"], output=tmp_path / "a", engine=engine)
    with pytest.raises(OutputExistsError):
        seqmill.measure_coverage(source, ["chr1"], output=tmp_path / "a", engine=engine)
    with pytest.raises(InputError, match="standard input"):
        seqmill.measure_coverage("-", ["chr1"], output=tmp_path / "c", engine=engine)


@pytest.mark.parametrize("job", [count, measure])
def test_job_killed_behind_its_outputs_is_done_when_resumed(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Any
) -> None:
    whole = job(genome, tmp_path / "whole")
    target = tmp_path / "a"
    states = [tmp_path / "a.seqmill", tmp_path / "a" / "o.skm.seqmill"]
    with LocalEngine(2) as engine:
        options = {"engine": engine, "unit_bases": UNIT}

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("seqmill.engine.journal.Journal.remove", killed)
            with pytest.raises(KeyboardInterrupt):
                job(genome, target, **options)
        (state,) = (path for path in states if path.exists())
        # What made the outputs is gone already; what says that they are done is small.
        assert not (state / "parts").exists()
        kept = {path.name: path.read_bytes() for path in state.iterdir()}

        metrics = tmp_path / "m.json"
        assert job(genome, target, resume=True, metrics=metrics, **options) == whole
        totals = json.loads(metrics.read_text())["totals"]
        assert (totals["units_run"], totals["units_skipped"] > 3) == (None, True)
        assert not state.exists()

        # An output that is not as it was left is made again.
        state.mkdir()
        for name, content in kept.items():
            (state / name).write_bytes(content)
        changed = next(path for path in sorted(target.rglob("*")) if path.is_file())
        changed.write_bytes(changed.read_bytes()[:-1] + b"#")
        assert job(genome, target, resume=True, metrics=metrics, **options) == whole
        assert json.loads(metrics.read_text())["totals"]["units_run"] > 3
        assert not state.exists()


def test_the_number_of_units_is_bounded(engine: LocalEngine, tmp_path: Path) -> None:
    line = b"ACGTTGCAGT" * 6 + b"\n"
    source = tmp_path / "s.fa"
    source.write_bytes(b">a\n" + line * 20_000)
    packed = tmp_path / "g.fa.gz"
    _native.bgzf_compress_file(source, packed, memory=1 << 32)
    for path in (source, packed):
        for unit in (1, 12):
            with pytest.raises(InputError, match="at most 100000 are made: give 13 or more"):
                plan_batches([str(path)], unit)
        assert 20_000 <= len(plan_batches([str(path)], 13)) <= 20_001
        with pytest.raises(InputError, match="unit-bases 1 makes"):
            count(path, tmp_path / "a", engine=engine, unit_bases=1)
        with pytest.raises(InputError, match="unit-bases 1 makes more than 100000 units"):
            seqmill.measure_coverage(
                path, windows=10, output=tmp_path / "b", engine=engine, unit_bases=1
            )
        assert not list(tmp_path.rglob("*.seqmill"))
    source.write_bytes(b">a\n" + b"A" * 2_000_004)
    with pytest.raises(InputError, match="chunk size 3 cuts the records at 2,000,001 places"):
        plan_chunks(source, k=3, chunk_size=3)
    assert len(plan_chunks(source, k=3, chunk_size=1000)) > 2000
