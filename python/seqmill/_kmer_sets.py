"""Set operations on tables of k-mers."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqmill import _native
from seqmill._kmer_jobs import PathLike, choose_outputs, run_job, temporary_table
from seqmill._kmer_table import KmerTable

__all__ = ["combine_tables"]


def combine_tables(
    operation: str,
    inputs: Sequence[str],
    output: PathLike | None = None,
    formats: Sequence[str] = (),
    **options: Any,
) -> KmerTable:
    """Merge tables or do another operation on them, and open the result."""
    resources = {
        name: options.pop(name)
        for name in ("threads", "memory", "tmpdir", "progress", "metrics", "force", "resume")
        if name in options
    }
    outputs = [] if output is None else choose_outputs(output, formats)
    kept = next((path for name, path in outputs if name == "skm"), None)
    if kept is None:
        kept_path = temporary_table(os.fspath(resources.get("tmpdir") or tempfile.gettempdir()))
        Path(kept_path).unlink()
        outputs = [*outputs, ("skm", kept_path)]
    else:
        kept_path = kept
    command = "kmers merge" if operation == "union-sum" else "kmers setop"
    request = {"operation": operation, **options}
    job = run_job(command, _native.kmers_merge, request, list(inputs), outputs, **resources)
    return KmerTable._open(kept_path, job.metrics, drop=kept is None)  # noqa: SLF001
