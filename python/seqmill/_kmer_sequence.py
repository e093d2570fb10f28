"""K-mers of one short sequence, in Python."""

from collections import Counter

from seqmill._kmer_jobs import check_k
from seqmill.errors import InputError

__all__ = ["count_sequence", "text_bytes"]

_PAIR = bytes.maketrans(b"ACGT", b"TGCA")


def count_sequence(sequence: str | bytes, k: int, *, canonical: bool = False) -> dict[str, int]:
    """Count the k-mers of a short sequence in Python.

    Parameters
    ----------
    sequence
        Bases in either case; anything else breaks k-mers.
    k
        Length of the k-mers.
    canonical
        Count a k-mer and its reverse complement as one.

    Returns
    -------
    dict
        Counts by k-mer, in order of the k-mers.

    Examples
    --------
    >>> count_sequence("ACGTNacg", 3)
    {'ACG': 2, 'CGT': 1}
    >>> count_sequence("ACGTNacg", 3, canonical=True)
    {'ACG': 3}
    """
    check_k(k)
    text = text_bytes(sequence).upper()
    counts: Counter[bytes] = Counter()
    for begin in range(len(text) - k + 1):
        kmer = text[begin : begin + k]
        if kmer.translate(None, b"ACGT"):
            continue
        counts[min(kmer, kmer.translate(_PAIR)[::-1]) if canonical else kmer] += 1
    return {kmer.decode(): counts[kmer] for kmer in sorted(counts)}


def text_bytes(text: str | bytes) -> bytes:
    """Give the bytes of a text; packed k-mers are none."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if isinstance(text, bytes | bytearray | memoryview):
        return bytes(text)
    raise InputError(
        f"{text!r} is no text; k-mers are str or bytes, packed ones a NumPy array of uint64",
        option="kmers",
        value=text,
    )
