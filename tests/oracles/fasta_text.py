"""FASTA read the slow way: the whole text, line by line."""

COMPLEMENT = bytes.maketrans(b"ACGTURYKMBVDHacgturykmbvdh", b"TGCAAYRMKVBHDtgcaayrmkvbhd")
SPACE = b" \t\n\r\v\f"


def read_fasta(text: bytes) -> dict[str, bytes]:
    """Contigs by name; of equal names the first counts, contigs without bases do not."""
    found: dict[str, bytes] = {}
    for record in text.split(b">")[1:]:
        header, _, body = record.partition(b"\n")
        words = header.split(None, 1)
        name = words[0].decode("utf-8", "surrogateescape") if words else ""
        bases = bytes(byte for byte in body if byte not in SPACE)
        if bases:
            found.setdefault(name, bases)
    return found


def reverse_complement(bases: bytes) -> bytes:
    return bases[::-1].translate(COMPLEMENT)
