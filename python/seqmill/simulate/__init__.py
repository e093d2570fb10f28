"""Simulated genomes, reads and alignments with a known truth.

The same seed and options give the same data on every machine: all randomness comes from 64-bit
integer arithmetic (see :mod:`seqmill.simulate.draws`). Only the size of deflated blocks depends on
the deflate library at hand.

Examples
--------
>>> from seqmill import simulate
>>> genome = simulate.simulate_genome(seed=1)
>>> reads = simulate.simulate_short_reads(genome, simulate.ShortReadOptions(pairs=10), seed=1)
>>> print(reads.header().splitlines()[0])
@HD	VN:1.6	SO:coordinate
"""

from __future__ import annotations

from seqmill.simulate.alignments import Alignments
from seqmill.simulate.collection import CollectionOptions, Variant, simulate_collection
from seqmill.simulate.examples import write_example_data
from seqmill.simulate.fasta import write_fasta
from seqmill.simulate.genome import (
    Contig,
    Genome,
    GenomeOptions,
    RepeatCopy,
    RepeatFamily,
    simulate_genome,
)
from seqmill.simulate.long_reads import LongReadOptions, simulate_long_reads
from seqmill.simulate.short_reads import ShortReadOptions, simulate_short_reads

__all__ = [
    "Alignments",
    "CollectionOptions",
    "Contig",
    "Genome",
    "GenomeOptions",
    "LongReadOptions",
    "RepeatCopy",
    "RepeatFamily",
    "ShortReadOptions",
    "Variant",
    "simulate_collection",
    "simulate_genome",
    "simulate_long_reads",
    "simulate_short_reads",
    "write_example_data",
    "write_fasta",
]
