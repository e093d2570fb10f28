"""Addresses, and what is read at them, without a server."""

from collections.abc import Callable
from typing import Any

import pytest

import seqmill
from seqmill._addresses import Address, is_remote, shown, without_secrets
from seqmill._roots import absolute, is_remote_root
from seqmill.errors import InputError


@pytest.mark.parametrize(
    ("text", "store", "key", "seen"),
    [
        ("https://h/a/b%20c.bam", "https://h/", "a/b c.bam", "https://h/a/b%20c.bam"),
        ("HTTP://h:80/x?s=1", "http://h:80/?s=1", "x", "http://h:80/x"),
        ("https://u:p@h/x.fa", "https://u:p@h/", "x.fa", "https://h/x.fa"),
        ("s3://b/k?y#z.bam", "s3://b", "k?y#z.bam", "s3://b/k?y#z.bam"),
        ("gs://b/a//c", "gs://b", "a//c", "gs://b/a//c"),
    ],
)
def test_addresses_are_taken_apart(text: str, store: str, key: str, seen: str) -> None:
    address = Address.parse(text)
    assert (address.store, address.key, address.shown) == (store, key, seen)
    assert shown(text) == seen
    side = address.beside(lambda name: f"{name}.fai")
    assert (side.store, side.key, side.shown) == (store, f"{key}.fai", f"{seen}.fai")


@pytest.mark.parametrize("text", ["file:///x", "ftp://h/x", "s3://b", "https://h/", "https://h/d/"])
def test_other_addresses_are_refused(text: str) -> None:
    assert is_remote(text)
    with pytest.raises(InputError):
        Address.parse(text)


def test_roots() -> None:
    assert is_remote_root("s3://b/x.fa")
    assert not is_remote_root(["x.fa", "/y/http:/z.fa"])
    assert absolute("s3://b/x.fa") == "s3://b/x.fa"
    with pytest.raises(InputError, match="one store"):
        is_remote_root(["s3://b/x.fa", "x.fa"])


def test_words_of_a_command_line_lose_their_secrets() -> None:
    assert without_secrets("-o") == "-o"
    assert without_secrets("https://u:p@h/x?sig=1") == "https://h/x"
    assert without_secrets("s3://b/k?y") == "s3://b/k?y"


@pytest.mark.parametrize(
    "job", [seqmill.count_kmers, seqmill.measure_coverage, seqmill.find_repeats]
)
def test_jobs_that_read_no_addresses_say_so(job: Callable[[str], Any]) -> None:
    with pytest.raises(InputError, match="copy the file first") as caught:
        job("https://me:secret@example.org/genome.fa?signature=1")
    assert str(caught.value).startswith("https://example.org/genome.fa: ")
