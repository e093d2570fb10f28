"""Families against the plain definition, with genomes, parameters and threads drawn together."""

import random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmill import find_repeats
from tests.oracles.repeats import Options, Oracle, reverse_complement

if TYPE_CHECKING:
    from pathlib import Path


def genome(seed: int, records: int, copies: int, change: float) -> list[str]:
    """Records with changed copies of a few sequences between random letters."""
    draw = random.Random(seed)  # noqa: S311 - a seed must give the same genome

    def letters(count: int) -> str:
        return "".join(draw.choices("ACGT", k=count))

    sources = [letters(draw.randint(25, 70)) for _ in range(2)]
    texts = [letters(20) for _ in range(records)]
    for _ in range(copies):
        piece = ""
        for base in draw.choice(sources):
            dice = draw.random()
            if dice < change / 4:
                continue
            if dice < change / 2:
                piece += draw.choice("ACGT")
            piece += draw.choice("ACGTN") if change / 2 <= dice < change else base
        if draw.random() < 0.5:
            piece = reverse_complement(piece)
        texts[draw.randrange(records)] += piece + letters(draw.randint(0, 40))
    return texts


@pytest.mark.filterwarnings("ignore:.*no k-mer occurs")
@given(
    seed=st.integers(0, 2**32),
    records=st.integers(1, 4),
    copies=st.integers(3, 9),
    change=st.sampled_from([0.0, 0.05, 0.15]),
    k=st.integers(4, 9),
    distance=st.sampled_from([0, 0, 1, 1, 2]),
    gap=st.sampled_from([0, 2, 5]),
    scores=st.sampled_from([(1, -1, -5, -1, -20), (2, -3, -6, -2, -25), (1, -4, -1, -1, -3)]),
    tandem=st.sampled_from([0, 20, 500]),
    reprise=st.booleans(),
    threads=st.integers(1, 3),
    wide=st.booleans(),
)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_families_follow_the_definition(tmp_path_factory: Any, **drawn: Any) -> None:
    texts = genome(drawn["seed"], drawn["records"], drawn["copies"], drawn["change"])
    match, mismatch, gap_open, gap_extend, cap = drawn["scores"]
    if drawn["wide"]:
        # Beyond 16 bits: the plain kernels.
        match, mismatch, gap_open, gap_extend, cap = (
            400 * score for score in (match, mismatch, gap_open, gap_extend, cap)
        )
    shared: dict[str, Any] = {
        "distance": drawn["distance"],
        "match": match,
        "mismatch": mismatch,
        "gap_open": gap_open,
        "gap_extend": gap_extend,
        "min_length": 20,
    }
    reprise = drawn["reprise"]
    oracle = Oracle(
        texts,
        Options(
            k=drawn["k"],
            gap=drawn["gap"],
            cap=cap,
            stop=15,
            improvement=match * 2,
            tandem=drawn["tandem"],
            reprise=reprise,
            max_extend=200,
            **shared,
        ),
    ).run()
    folder: Path = tmp_path_factory.mktemp("repeats")
    path = folder / "genome.fa"
    path.write_text("".join(f">r{i}\n{text}\n" for i, text in enumerate(texts)))
    found = find_repeats(
        path,
        seed_length=drawn["k"],
        cap_penalty=cap,
        max_gap=drawn["gap"],
        stop_after=15,
        min_improvement=match * 2,
        tandem_distance=drawn["tandem"],
        max_extend=200,
        compat="reprise" if reprise else "none",
        threads=drawn["threads"],
        **shared,
    )
    seeds = pa.table(found.seeds).to_pylist()
    assert [(s["seed"], s["count"], (int(s["chrom"][1:]), s["start"])) for s in seeds] == (
        oracle.seeds
    )
    families = pa.table(found.families).to_pylist()
    assert [(f["seed"], f["consensus"], f["seed_count"]) for f in families] == oracle.families
    elements = {
        (int(e["family"][3:]), int(e["chrom"][1:]), e["start"], e["end"] - 1, e["strand"])
        for e in pa.table(found.elements).to_pylist()
    }
    clipped = {
        (f, r, max(0, start), min(len(texts[r]), end + 1) - 1, strand)
        for f, r, start, end, strand in oracle.elements
    }
    assert elements == clipped
