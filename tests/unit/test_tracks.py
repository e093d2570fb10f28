"""Tracks with their notes, sequence and tracks together, and what `Intervals` can do."""

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from seqmill import FastaStore, errors
from seqmill._intervals import Intervals
from seqmill._native import bgzf_compress
from seqmill.tracks import SequenceTracks, TrackStore

SIZES = {"c1": 5000, "c2": 40}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A genome, its positions as int32, and two channels of float64."""
    draw = random.Random(3)  # noqa: S311
    lines = []
    for name, size in SIZES.items():
        bases = "".join(draw.choices("ACGTN", [8, 8, 8, 8, 2], k=size))
        lines += [f">{name}", *(bases[at : at + 50] for at in range(0, size, 50))]
    (tmp_path / "g.fa").write_text("\n".join(lines) + "\n")
    write_track(tmp_path / "place", "<i4", 1)
    write_track(tmp_path / "pair", "<f8", 2)
    return tmp_path


def write_track(folder: Path, dtype: str, channels: int) -> None:
    folder.mkdir()
    parts, borders = [], [0]
    for size in SIZES.values():
        values = np.arange(size * channels).astype(dtype)
        parts.append(values.tobytes())
        borders.append(borders[-1] + len(parts[-1]))
    whole, chunk = b"".join(parts), 65280
    blocks = [bgzf_compress(whole[at : at + chunk], level=1) for at in range(0, len(whole), chunk)]
    eof = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
    blocks = [block.removesuffix(eof) for block in blocks]
    (folder / "g.track.gz").write_bytes(b"".join(blocks) + eof)
    starts = np.cumsum([len(block) for block in blocks])[:-1]
    entries = [(int(at), (i + 1) * chunk) for i, at in enumerate(starts)]
    gzi = np.array([len(entries), *(number for entry in entries for number in entry)], "<u8")
    (folder / "g.track.gz.gzi").write_bytes(gzi.tobytes())
    rows = [*zip(SIZES, borders, strict=False), ("", borders[-1])]
    text = "".join(f"{name}\t{at}\n" for name, at in rows)
    (folder / "g.track.gz.idx").write_text(text)
    note = {"dtype": dtype, "channels": channels, "description": "test"}
    (folder / "g.track.json").write_text(json.dumps(note))


def test_a_note_beside_the_track_says_what_it_holds(root: Path) -> None:
    store = TrackStore(root / "pair")
    assert store.meaning("g") == (np.dtype("<f8"), 2, "test")
    assert store.lengths("g") == list(SIZES.items())
    got = store.fetch("g", "c1", 10, 13)
    assert got.tolist() == [[20, 21], [22, 23], [24, 25]]
    assert (store.fetch("g", "c1", 10, 13, strand="-") == got[::-1]).all()
    padded = store.fetch("g", "c2", -1, 2, out_of_range="pad")
    assert np.isnan(padded[0]).all()
    assert padded[1].tolist() == [0, 1]
    copy = pickle.loads(pickle.dumps(TrackStore(root / "pair", "<f4", 4)))  # noqa: S301
    assert copy.lengths("g") == list(SIZES.items())
    places = TrackStore(root / "place")
    assert places.fetch("g", "c2").tolist() == list(range(40))
    with pytest.raises(errors.InputError, match="pad_value"):
        places.fetch("g", "c2", -1, 2, out_of_range="pad")
    assert places.fetch("g", "c2", -1, 1, out_of_range="pad", pad_value=-7).tolist() == [-7, 0]
    with pytest.raises(errors.FormatError, match="no positions"):
        TrackStore(root / "place", "<i4", 3).fetch("g", "c1", 0, 1)
    for text in ("{", "[]", '{"dtype": "O"}', '{"channels": 0}', '{"dtype": 3}'):
        (root / "place" / "g.track.json").write_text(text)
        with pytest.raises(errors.FormatError, match=r"g\.track\.json"):
            TrackStore(root / "place").meaning("g")


def test_windows_of_sequence_and_tracks_in_one_call(root: Path) -> None:
    fasta = FastaStore.open(root / "g.fa")
    both = SequenceTracks(
        fasta, {"place": TrackStore(root / "place"), "pair": TrackStore(root / "pair")}
    )
    bases, values = both.fetch("g", "c1", 100, 104, strand="-", encode="tokens")
    assert values["place"].tolist() == [103, 102, 101, 100]
    assert values["pair"][0].tolist() == [206, 207]
    assert (bases == fasta.fetch("g", "c1", 100, 104, strand="-", encode="tokens")).all()
    assert len(both.fetch("g", "c2")[1]["place"]) == 40
    windows = [("g", "c1", start, start + 30, "+-"[start % 2]) for start in range(0, 900, 7)]
    bases, values = both.fetch_many(windows, encode="onehot", threads=2)
    assert bases.shape == (len(windows), 30, 4)
    for row, window in enumerate(windows):
        alone = both.fetch(*window[:4], strand=window[4], encode="onehot")
        assert (bases[row] == alone[0]).all()
        for label, track in values.items():
            assert (track[row] == alone[1][label]).all()
    over = [("g", "c2", 30, 50), ("g", "c2", -20, 0, "-")]
    _, values = both.fetch_many(over, out_of_range="pad", pad_value=-1)
    assert values["place"].tolist() == [[*range(30, 40), *[-1] * 10], [-1] * 20]
    with pytest.raises(errors.InputError, match="one length"):
        both.tracks["place"].fetch_many([("g", "c1", 0, 2), ("g", "c1", 0, 3)])
    assert both.fetch_many([])[1]["pair"].size == 0


def test_intervals_are_moved_filtered_and_kept_as_arrays(root: Path) -> None:
    fasta = FastaStore.open(root / "g.fa")
    bed = root / "peaks.bed"
    rows = ["c1\t100\t200\ta\t0\t-\t1\t1\t1\t30", "c1\t300\t400\tb\t0\t+\t1\t1\t1\t-1", "c2\t0\t9"]
    bed.write_text("\n".join(rows) + "\n")
    peaks = Intervals.from_bed(fasta, bed, summit_column=9)
    assert peaks.resize(10, "summit").starts.tolist() == [125, 345, -1]
    assert peaks[1:].turn(np.array([True, False])).resize(4, "summit").ends.tolist() == [352, 6]
    assert peaks.strands.tolist() == [-1, 1, 1]
    with pytest.raises(errors.InputError, match="no summits"):
        Intervals.from_bed(fasta, bed).resize(10, "summit")
    bed.write_text("c1\t100\t200\ta\t0\t-\t1\t1\t1\tx\n")
    with pytest.raises(errors.FormatError, match="summit"):
        Intervals.from_bed(fasta, bed, summit_column=9)
    many = Intervals.from_windows(fasta, [("g", "c1", i, i + 40) for i in range(0, 4900, 5)])
    assert sum(column.nbytes for column in many.arrays) == 25 * len(many)
    moved = many.jitter(3, seed=1)
    assert set((moved.starts - many.starts).tolist()) == set(range(-3, 4))
    assert (many.jitter(3, seed=1).starts == moved.starts).all()
    assert (many.jitter(3, seed=1, epoch=1).starts != moved.starts).any()
    share = (fasta.fetch_many(many) == ord("N")).mean(axis=1)
    kept = many.filter(fasta, max_n=0.05)
    assert kept.starts.tolist() == many.starts[share <= 0.05].tolist()
    assert 0 < len(kept) < len(many)
    arrays = (many.files, many.contigs, many.starts, many.strands)
    expected = fasta.fetch_many(many)
    assert (fasta.fetch_many(arrays, length=40) == expected).all()
    assert (fasta.fetch_many(arrays, length=many.ends - many.starts) == expected).all()
    rows = np.zeros(len(many), "u4,u4,i8,i8,i1")
    rows.dtype.names = ("file", "contig", "start", "end", "strand")
    for name, column in zip(rows.dtype.names, many.arrays, strict=True):
        rows[name] = column
    assert (fasta.fetch_many(rows) == expected).all()
    assert (fasta.fetch_many(rows[["file", "contig", "start", "end"]]) == expected).all()
    with pytest.raises(errors.InputError, match="'end'"):
        fasta.fetch_many(rows[["file", "contig", "start"]])
    ragged = Intervals.from_windows(fasta, [("g", "c1", 0, 40), ("g", "c2", -30, 10)])
    assert len(ragged.filter(fasta, max_n=0.5)) == 1
    assert ragged.filter(fasta, inside=True).starts.tolist() == [0]


def test_values_are_never_made_up(root: Path) -> None:
    store = TrackStore(root / "place")
    with pytest.raises(errors.OutOfRangeError, match="5000 positions"):
        store.fetch("g", "c1", 4999, 5001)
    for start in (1 << 62, 1 << 80):
        with pytest.raises(errors.OutOfRangeError):
            store.fetch("g", "c1", start, start + 3)
    # Four times this is beyond what 64 bits count: it came out as the first positions.
    far = Intervals([0], [0], [1 << 62], [(1 << 62) + 3], [1])
    with pytest.raises(errors.OutOfRangeError, match="reaches out"):
        store.fetch_many(far)
    for window in (("g", "c1", 4999, 5003), ("g", "c1", 4998, 5003)):
        with pytest.raises(errors.InputError, match="another length"):
            store.fetch_many([window], out_of_range="clip")
    for value in (2.5, 1 << 31, float("nan")):
        with pytest.raises(errors.InputError, match="does not fit"):
            store.fetch("g", "c1", -1, 2, out_of_range="pad", pad_value=value)
    with pytest.raises(errors.FormatError, match="no positions of 24"):
        TrackStore(root / "pair", dtype="<f8", channels=3).fetch_many([("g", "c1", 0, 2)])
    for dtype in ("O", "U1", "none"):
        with pytest.raises(errors.InputError, match="no type of numbers"):
            TrackStore(root / "place", dtype=dtype)


def test_reversed_values_are_an_array_of_their_own(root: Path) -> None:
    values = TrackStore(root / "place").fetch("g", "c1", 10, 14, strand="-")
    assert values.tolist() == [13, 12, 11, 10]
    assert values.strides == (4,)  # Tensors take no negative ones.
