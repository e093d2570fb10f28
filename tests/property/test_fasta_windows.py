"""Windows of random FASTA against a reader that takes the text apart line by line."""

import itertools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmill import FastaStore, errors
from seqmill._native import BGZF_EOF, bgzf_compress
from tests.oracles.fasta_text import read_fasta, reverse_complement

LETTERS = b"ACGTNacgtnuURYKMSWBDHVryk-*"
NAME = st.text("abXY01|:.-_#é中", min_size=0, max_size=6)


@st.composite
def fasta(draw: st.DrawFn) -> bytes:
    """Contigs of random names, widths and line ends; some are empty, some one line."""
    parts = []
    for name in draw(st.lists(NAME, min_size=1, max_size=6)):
        end = draw(st.sampled_from([b"\n", b"\r\n"]))
        width = draw(st.integers(1, 200))
        length = draw(st.one_of(st.integers(0, 500), st.integers(0, 4).map(lambda k: k * width)))  # noqa: B023
        bases = bytes(draw(st.lists(st.sampled_from(LETTERS), min_size=length, max_size=length)))
        if draw(st.booleans()):
            width = max(length, 1)
        comment = draw(st.sampled_from([b"", b" a comment", b"\tx"]))
        lines = [bases[at : at + width] for at in range(0, length, width)]
        parts.append(b">" + name.encode() + comment + end + b"".join(x + end for x in lines))
    text = b"".join(parts)
    return text.rstrip(b"\r\n") if draw(st.booleans()) and text[-2:-1] not in b"\r>" else text


def pack(text: bytes, sizes: list[int]) -> bytes:
    """BGZF with blocks of the sizes given, again and again; a size of 0 is an empty block."""
    blocks, at = [], 0
    for size in itertools.cycle([*sizes, 60_000]):
        if at >= len(text):
            break
        blocks.append(bgzf_compress(text[at : at + size], level=1).removesuffix(BGZF_EOF))
        at += size
    return b"".join(blocks) + BGZF_EOF


@settings(max_examples=150, deadline=None)
@given(
    text=fasta(),
    packed=st.one_of(st.none(), st.lists(st.integers(0, 300), max_size=5)),
    data=st.data(),
)
def test_windows_equal_the_text(text: bytes, packed: list[int] | None, data: st.DataObject) -> None:
    expected = read_fasta(text)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Names that come more than once.
        path = Path(folder, "x.fa")
        path.write_bytes(text if packed is None else pack(text, packed))
        try:
            store = FastaStore.open(path, cache_size=data.draw(st.sampled_from([0, 1 << 20])))
        except errors.FormatError:
            # As samtools: the last contig may not be empty.
            assert not text.rstrip(b"\r\n").rpartition(b"\n")[2].strip() or text.rstrip(
                b"\r\n"
            ).rpartition(b"\n")[2].startswith(b">")
            return
        assert dict(store.contigs("x")) == {name: len(b) for name, b in expected.items()}
        windows = []
        for name, bases in expected.items():
            start = data.draw(st.integers(0, len(bases)))
            end = data.draw(st.integers(start, len(bases)))
            windows += [(name, start, end), (name, 0, len(bases)), (name, len(bases) - 1, None)]
        strands = [data.draw(st.sampled_from("+-")) for _ in windows]
        wanted = []
        for (name, start, end), strand in zip(windows, strands, strict=True):
            bases = expected[name][start:end]
            wanted.append(reverse_complement(bases) if strand == "-" else bases)
            assert store.fetch("x", name, start, end, strand=strand) == wanted[-1]
        rows = [
            ("x", name, start, len(expected[name]) if end is None else end, strand)
            for (name, start, end), strand in zip(windows, strands, strict=True)
        ]
        assert store.fetch_many(rows, encode="bytes", threads=2) == wanted
        if expected:
            store.pack("x")
            again = FastaStore.open(path, pack="require")
            assert again.fetch_many(rows, encode="bytes") == wanted


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 60),
    start=st.integers(-80, 80),
    size=st.integers(0, 90),
    policy=st.sampled_from(["pad", "clip", "shift", "error"]),
    strand=st.sampled_from("+-"),
)
def test_windows_beyond_the_contig(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    length: int,
    start: int,
    size: int,
    policy: str,
    strand: str,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"out_of_range_{length}.fa"
    bases = np.random.default_rng(length).choice(list(b"ACGT"), length).astype(np.uint8).tobytes()
    if not path.exists():
        path.write_bytes(b">c\n" + bases + b"\n")
    store = FastaStore.open(path)
    whole = {x: bases[x : x + 1] for x in range(length)}
    places = range(start, start + size)
    inside = [x for x in places if x in whole]
    if policy == "error" and not (start >= 0 and start + size <= length):
        expected = None
    elif policy == "clip":
        expected = b"".join(whole[x] for x in inside)
    elif policy == "pad":
        expected = b"".join(whole.get(x, b"N") for x in places)
    elif size > length:
        expected = None
    else:
        first = min(max(start, 0), length - size)
        expected = bases[first : first + size]
    if expected is None:
        with pytest.raises(errors.OutOfRangeError):
            store.fetch(0, "c", start, start + size, out_of_range=policy)
        return
    if strand == "-":
        expected = reverse_complement(expected)
    got = store.fetch(0, "c", start, start + size, strand=strand, out_of_range=policy)
    assert got == expected
