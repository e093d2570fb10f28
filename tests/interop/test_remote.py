"""Remote inputs against servers: the same bytes as from local files, and what faults become."""

import errno
import gc
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import seqmill
from seqmill import FastaStore, errors, simulate
from seqmill.engine import LocalEngine
from seqmill.errors import InputError
from tests.conftest import RunCommand
from tests.object_server import (
    Bucket,
    FileServer,
    serve_folder,
    serve_objects,
    serve_upstream,
    wait_for,
)

pytest.importorskip("obstore")

MEMORY = "1GiB"
FAULTS = ["503", "drop", "cut", "", "429", "cut", "slow", "", "500"]
"""Never as many in a row as there are attempts; one without a name is none."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    genome = simulate.simulate_genome(
        simulate.GenomeOptions(contigs=tuple((f"chr{n}", 400_000) for n in (1, 2, 3))), seed=5
    )
    simulate.write_fasta(place / "genome.fa.gz", genome.contigs)
    simulate.write_fasta(place / "genome.fa", genome.contigs)
    reads = simulate.simulate_short_reads(genome, simulate.ShortReadOptions(pairs=10_000), seed=6)
    reads.write_bam(place / "reads.bam")
    reads.write_fastq(place / "reads.fq.gz")
    (place / "empty.bam").write_bytes(b"")
    return place


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEQMILL_REMOTE_TIMEOUT", "2")
    monkeypatch.setenv("SEQMILL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def server(folder: Path) -> Iterator[FileServer]:
    with serve_folder(folder) as running:
        yield running


@pytest.fixture(scope="module")
def objects(folder: Path) -> Iterator[tuple[FileServer, str]]:
    """Serve the same files as objects of a bucket, by way of a server that can fail."""
    with serve_objects() as endpoint, serve_upstream(endpoint) as faulty:
        bucket = Bucket(endpoint, "genomes")
        for path in folder.iterdir():
            if path.is_file():
                bucket.put(f"run/{path.name}", path.read_bytes())
        yield faulty, "s3://genomes/run"


@pytest.fixture
def bucket(
    objects: tuple[FileServer, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[FileServer, str]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": objects[0].url,
    }.items():
        monkeypatch.setenv(name, value)
    objects[0].requests.clear()
    return objects


def converted(source: Any, target: Path, **options: Any) -> bytes:
    seqmill.convert(source, target, memory=MEMORY, **options)
    return target.read_bytes()


@pytest.mark.parametrize("name", ["reads.bam", "reads.fq.gz", "genome.fa.gz"])
@pytest.mark.parametrize("faults", [[], FAULTS])
def test_conversions_are_those_of_local_files(
    server: FileServer, folder: Path, tmp_path: Path, name: str, faults: list[str]
) -> None:
    local = converted(folder / name, tmp_path / "local.parquet")
    server.faults += faults
    assert converted(f"{server.url}/{name}", tmp_path / "remote.parquet") == local
    assert all(method == "GET" and wanted for method, _, wanted in server.requests)


def test_conversions_on_an_engine(server: FileServer, folder: Path, tmp_path: Path) -> None:
    """Workers read for themselves; what only this process knows does not reach them."""
    source = f"{server.url}/reads.bam"
    expected = converted(folder / "reads.bam", tmp_path / "local.parquet")
    with LocalEngine(1) as engine:
        assert converted(source, tmp_path / "far.parquet", engine=engine) == expected
        for secret in ("reads.bam?X-Amz-Signature=0123", "small.bam?token=0123"):
            with pytest.raises(InputError, match="does not reach the workers") as caught:
                converted(f"{server.url}/{secret}", tmp_path / "x.parquet", engine=engine)
            assert "0123" not in str(caught.value)
    assert not list(tmp_path.glob("x.*"))


def test_regions_read_what_they_need(server: FileServer, folder: Path, tmp_path: Path) -> None:
    options = {"regions": "chr2:100,001-110,000", "threads": 2}
    local = converted(folder / "reads.bam", tmp_path / "local.arrow", **options)
    assert converted(f"{server.url}/reads.bam", tmp_path / "remote.arrow", **options) == local
    assert any(path.endswith(".bam.bai") for _, path, _ in server.requests)
    with seqmill.scan_alignments(f"{server.url}/reads.bam", memory=MEMORY) as scan:
        near = scan.within(options["regions"])
        assert (
            near.count()
            == seqmill.scan_alignments(folder / "reads.bam").within(options["regions"]).count()
        )
        assert near.to_table().num_rows == near.count()


def test_a_bucket_with_faults(bucket: tuple[FileServer, str], folder: Path, tmp_path: Path) -> None:
    server, base = bucket
    local = converted(folder / "reads.bam", tmp_path / "local.parquet")
    server.faults[:] = FAULTS
    assert converted(f"{base}/reads.bam", tmp_path / "remote.parquet", threads=2) == local
    assert not server.faults
    store = FastaStore.open(f"{base}/genome.fa.gz")
    copy = FastaStore.open([folder / "genome.fa.gz"])
    server.faults[:] = FAULTS
    for contig, start in (("chr1", 0), ("chr3", 200_000)):
        window = (contig, start, start + 70_000)
        assert store.fetch("genome", *window) == copy.fetch("genome", *window)


def test_windows_are_those_of_local_files(server: FileServer, folder: Path, tmp_path: Path) -> None:
    copy = FastaStore.open([folder / "genome.fa.gz"])
    draw = np.random.default_rng(1)
    starts = draw.integers(0, 390_000, 40)
    windows = [("genome", f"chr{1 + i % 3}", int(s), int(s) + 900) for i, s in enumerate(starts)]
    expected = copy.fetch_many(windows)
    for name in ("genome.fa.gz", "genome.fa"):
        server.faults[:] = FAULTS
        store = FastaStore.open(f"{server.url}/{name}", cache_size=0)
        assert store.names == ["genome"]
        assert store.contigs("genome") == copy.contigs("genome")
        assert (store.fetch_many(windows) == expected).all()
        single = store.fetch(*windows[0], encode="array")
        assert (single == expected[0]).all()
    # The index was kept: the second handle asks for no side file's content.
    server.requests.clear()
    again = FastaStore.open(f"{server.url}/genome.fa.gz")
    assert not again._native.was_built
    assert {wanted for _, _, wanted in server.requests} == {"bytes=0-0"}
    assert again.index_path.parent == tmp_path / "cache"


def test_side_files_are_made_where_there_are_none(
    server: FileServer, folder: Path, tmp_path: Path
) -> None:
    bare = folder / "bare"
    bare.mkdir()
    shutil.copy(folder / "genome.fa.gz", bare)
    store = FastaStore.open(f"{server.url}/bare/genome.fa.gz")
    copy = FastaStore.open([folder / "genome.fa.gz"])
    assert store.contigs("genome") == copy.contigs("genome")
    assert store.fetch("genome", "chr2", 5, 600) == copy.fetch("genome", "chr2", 5, 600)
    assert [path.name for path in bare.iterdir()] == ["genome.fa.gz"]
    path, _ = store.pack("genome")
    assert path.parent == tmp_path / "cache"
    packed = FastaStore.open(f"{server.url}/bare/genome.fa.gz", pack="require")
    assert packed.fetch("genome", "chr2", 5, 600) == copy.fetch("genome", "chr2", 5, 600)
    assert store.check() == []


def touch(path: Path, content: bytes) -> None:
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_replaced_file_is_an_error_never_mixed_bytes(server: FileServer, folder: Path) -> None:
    original = (folder / "reads.bam").read_bytes()
    target = folder / "changing.bam"
    target.write_bytes(original)
    url = f"{server.url}/changing.bam"
    scan = seqmill.scan_alignments(url, memory=MEMORY)
    touch(target, original[:-28] + bytes(28))
    with pytest.raises(errors.ChangedError, match=rf"{url}: .*replaced.*byte \d+"):
        scan.to_table()
    genome = folder / "changing.fa.gz"
    shutil.copy(folder / "genome.fa.gz", genome)
    store = FastaStore.open(f"{server.url}/changing.fa.gz")
    assert len(store.fetch("changing", "chr1", 0, 50)) == 50
    touch(genome, genome.read_bytes())
    with pytest.raises(errors.StaleIndexError, match=r"changing\.fa\.gz.*open the store again"):
        store.fetch("changing", "chr3", 300_000, 300_050)
    # Opened again it is another version with an index of its own.
    again = FastaStore.open(f"{server.url}/changing.fa.gz")
    assert again._native.was_built
    assert len(again.fetch("changing", "chr3", 300_000, 300_050)) == 50


def test_a_replaced_file_without_tags(folder: Path) -> None:
    target = folder / "untagged.bam"
    original = (folder / "reads.bam").read_bytes()
    target.write_bytes(original)
    with serve_folder(folder, etags=False) as server:
        scan = seqmill.scan_alignments(f"{server.url}/untagged.bam", memory=MEMORY)
        assert scan.count() > 0
        touch(target, original)
        with pytest.raises(errors.ChangedError, match="replaced"):
            scan.count()


@pytest.mark.parametrize(
    "case",
    [
        ("absent.bam", [], errno.ENOENT, "404"),
        ("secret.bam", [], errno.EACCES, "403.*credentials"),
        ("reads.bam", ["503"] * 9, errno.EAGAIN, r"byte \d+: .*503.*\(2 attempts\)"),
        ("reads.bam", ["drop"] * 9, errno.ECONNRESET, r"byte \d+: the connection broke"),
        ("reads.bam", ["slow"] * 9, errno.ETIMEDOUT, r"byte \d+: .*in time"),
        ("reads.bam", ["ignore"] * 9, errno.EOPNOTSUPP, "ignores byte ranges"),
        ("reads.bam", ["501"], errno.EIO, r"byte \d+: .*501"),
    ],
)
def test_errors_name_the_address_and_the_byte(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, ...]
) -> None:
    name, faults, code, words = case
    monkeypatch.setenv("SEQMILL_REMOTE_ATTEMPTS", "2")
    monkeypatch.setenv("SEQMILL_REMOTE_TIMEOUT", "1")
    server.faults += faults
    with pytest.raises(OSError, match=words) as caught:
        seqmill.convert(f"{server.url}/{name}", tmp_path / "x.parquet", memory=MEMORY)
    assert (caught.value.errno, caught.value.filename) == (code, f"{server.url}/{name}")
    assert not (tmp_path / "x.parquet").exists()
    temporary = code in (errno.EAGAIN, errno.ECONNRESET, errno.ETIMEDOUT)
    assert errors.exit_code(caught.value) == (75 if temporary else 74)


def test_a_server_without_ranges_and_one_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with serve_folder(folder, ranges=False) as server:
        with pytest.raises(OSError, match="ignores byte ranges"):
            FastaStore.open(f"{server.url}/genome.fa")
        gone = server.url
    with pytest.raises(ConnectionRefusedError) as caught:
        seqmill.convert(f"{gone}/reads.bam", tmp_path / "x.parquet")
    assert errors.exit_code(caught.value) == 75


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_temporary_failure_can_be_resumed(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setenv("SEQMILL_REMOTE_ATTEMPTS", "1")
    monkeypatch.setenv("SEQMILL_REMOTE_TIMEOUT", "40")
    options = {"checkpoint_every": "64K", "row_group_bytes": "256K"}
    local = converted(folder / "reads.bam", tmp_path / f"local.{suffix}", **options)
    url, target = f"{server.url}/reads.bam", tmp_path / f"x.{suffix}"
    checkpoint = tmp_path / f"x.{suffix}.seqmill" / "checkpoint.json"

    def fail_behind_a_checkpoint(stretch: str) -> str | None:
        # The second range of the conversion; the sample before it takes others.
        if not stretch.startswith("bytes=1048576-"):
            return None
        wait_for(checkpoint.exists)
        return "503"

    server.fault_of = fail_behind_a_checkpoint
    with pytest.raises(BlockingIOError) as caught:
        converted(url, target, **options)
    assert "--resume" in "".join(caught.value.__notes__)
    assert json.loads(checkpoint.read_text())["state"]["given"] > 0
    server.fault_of = lambda _: None
    assert converted(url, target, resume=True, **options) == local
    assert converted(url, target, resume=True, **options) == local


@pytest.mark.parametrize("name", ["reads.bam", "reads.fq.gz", "genome.fa"])
def test_what_comes_before_a_failure_is_right(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SEQMILL_REMOTE_ATTEMPTS", "1")
    options: dict[str, Any] = {"tags": "none"} if name == "reads.bam" else {}
    local = pa.table(seqmill.scan_alignments(folder / name, **options))
    byte = (folder / name).stat().st_size * 19 // 20
    seen = 0

    def fail_at_the_byte(stretch: str) -> str | None:
        # The fingerprint reads the end, too, before anything else.
        nonlocal seen
        begin, _, end = stretch.removeprefix("bytes=").partition("-")
        seen += int(begin) <= byte <= int(end)
        return "503" if int(begin) <= byte <= int(end) and seen > 1 else None

    server.fault_of = fail_at_the_byte
    batches = iter(seqmill.scan_alignments(f"{server.url}/{name}", memory=MEMORY, **options))
    found: list[pa.RecordBatch] = []
    with pytest.raises(OSError, match="503"):
        found.extend(pa.record_batch(batch) for batch in batches)
    got = pa.Table.from_batches(found, local.schema)
    assert 0 < got.num_rows < local.num_rows
    assert got == local.slice(0, got.num_rows)


def test_empty_and_unusual_files(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(errors.EmptyInputError):
        seqmill.convert(f"{server.url}/empty.bam", tmp_path / "x.parquet")
    for url, words in (
        ("ftp://host/x.bam", "take http://"),
        (f"{server.url}/", "names no file"),
        ("s3://bucket", "names no file"),
    ):
        with pytest.raises(errors.InputError, match=words):
            seqmill.convert(url, tmp_path / "x.parquet")
    with pytest.raises(errors.InputError, match="one store"):
        FastaStore.open([f"{server.url}/genome.fa", "genome.fa"])
    with pytest.raises(errors.InputError, match="archives"):
        FastaStore.open(f"{server.url}/genomes.agc")
    for option in ("index_only", "write_chunk_index"):
        output = None if option == "index_only" else tmp_path / "x.parquet"
        with pytest.raises(errors.InputError, match="remote"):
            seqmill.convert(f"{server.url}/reads.bam", output, **{option: True})
    with pytest.raises(errors.InputError, match="reference must be a local file"):
        seqmill.convert(f"{server.url}/reads.bam", tmp_path / "x.parquet", reference="s3://b/x")


def test_signatures_stay_secret(
    server: FileServer, tmp_path: Path, run_seqmill: RunCommand
) -> None:
    signed = f"{server.url}/reads.bam?X-Signature=hidden"
    target, metrics = tmp_path / "x.parquet", tmp_path / "m.json"
    done = run_seqmill(
        "convert", signed, "-o", target, "--metrics", metrics, "--record-paths", "-m", MEMORY
    )
    assert done.returncode == 0, done.stderr
    assert any("X-Signature=hidden" in path for _, path, _ in server.requests)
    kept = target.read_bytes() + metrics.read_bytes() + (done.stderr + done.stdout).encode()
    assert b"hidden" not in kept
    assert f"{server.url}/reads.bam".encode() in kept
    failed = run_seqmill(
        "convert", f"{server.url}/absent.bam?sig=hidden", "-o", tmp_path / "y.parquet"
    )
    assert failed.returncode == 74
    assert "hidden" not in failed.stderr
    assert "absent.bam: the server answers 404" in failed.stderr


def test_the_command_reads_windows(
    server: FileServer, folder: Path, run_seqmill: RunCommand, tmp_path: Path
) -> None:
    cache = {"SEQMILL_CACHE_DIR": str(tmp_path / "cache")}
    local = run_seqmill("fetch", folder / "genome.fa.gz", "chr1:1-200", "chr3:500-900")
    remote = run_seqmill(
        "fetch", f"{server.url}/genome.fa.gz", "chr1:1-200", "chr3:500-900", env=cache
    )
    assert remote.returncode == 0, remote.stderr
    assert remote.stdout == local.stdout


def read_in_child(store: FastaStore, queue: Any) -> None:
    try:
        queue.put(store.fetch("genome", "chr1", 10, 60))
    except errors.InputError as error:
        queue.put(str(error))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_processes(server: FileServer, method: str) -> None:
    store = FastaStore.open(f"{server.url}/genome.fa.gz")
    expected = store.fetch("genome", "chr1", 10, 60)
    assert pickle.loads(pickle.dumps(store)).fetch("genome", "chr1", 10, 60) == expected  # noqa: S301
    assert server.url in repr(store)
    context = get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=read_in_child, args=(store, queue))
    child.start()
    answer = queue.get()
    child.join()
    if method == "spawn":
        assert answer == expected
    else:
        assert "made by fork" in answer


INTERRUPTED = """
    import sys, seqmill
    try:
        if sys.argv[1] == "convert":
            seqmill.convert(sys.argv[2], sys.argv[3], memory="128MiB")
        else:
            store = seqmill.FastaStore.open(sys.argv[2])
            print("open", flush=True)
            store.fetch("genome", "chr2", 200_000, 300_000)
    except KeyboardInterrupt:
        sys.exit(42)
"""


@pytest.mark.parametrize(("job", "name"), [("convert", "reads.bam"), ("fetch", "genome.fa.gz")])
def test_who_waits_can_be_interrupted(
    server: FileServer, tmp_path: Path, job: str, name: str
) -> None:
    if job == "convert":
        server.faults += ["slow"] * 100
    environment = {**os.environ, "SEQMILL_REMOTE_TIMEOUT": "60"}
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(INTERRUPTED),
            job,
            f"{server.url}/{name}",
            str(tmp_path / "x.parquet"),
        ],
        env=environment,
        stdout=subprocess.PIPE,
    )
    if job == "fetch":
        assert child.stdout is not None
        child.stdout.readline()
        server.faults += ["slow"] * 100
    seen = len(server.requests)
    wait_for(lambda: len(server.requests) > seen or (job == "convert" and seen > 1))
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 42
    child.communicate()


def test_readers_end_with_what_they_read(server: FileServer) -> None:
    def readers() -> int:
        return sum(thread.name == "seqmill-remote" for thread in threading.enumerate())

    gc.collect()
    # Failures that tests before looked at may still hold theirs.
    before = readers()
    store = FastaStore.open(f"{server.url}/genome.fa.gz")
    scan = seqmill.scan_alignments(f"{server.url}/reads.bam", memory=MEMORY)
    batches = iter(scan)
    next(batches)
    assert readers() > before
    del store, scan
    rows = sum(batch.num_rows for batch in batches)
    assert rows > 0
    del batches
    wait_for(lambda: readers() <= before)
