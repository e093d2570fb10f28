"""Measures `seqmill pack` and `unpack` against agc, ragc (when on PATH) and zstd; see README.md."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _measure
from _report import Claim, Claims, write_results

from seqmill import Archive

HERE = Path(__file__).resolve().parent
_SEQMILL = str(Path(sys.executable).parent / "seqmill")
_SIZES = ("-k", "21", "--segment-size", "10000", "--min-match", "20")
_AGC_SIZES = ("-k", "21", "-s", "10000", "-l", "20")
_REGIONS = 20_000
_MIB = 1 << 20

Row = dict[str, Any]


class Bench:
    """Runs contestants and prints what each took."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.tools = _measure.build_tools()
        self.rows: dict[str, dict[str, Row]] = {}
        self.claims = Claims()

    def run(
        self, task: str, name: str, command: list[str], output: Path | None, *, once: bool = False
    ) -> None:
        """Run a command `rounds` times, or once if it takes minutes; note its figures."""
        series = _measure.Series()
        for _ in range(1 if once else self.rounds):
            series.runs.append(_measure.measure(self.tools, command, output))
        self.rows.setdefault(task, {})[name] = series.to_dict()

    def claim(self, task: str, pair: tuple[str, str], key: str, bound: float) -> None:
        """Note what is asked of a figure beside that of a peer, if the peer is there."""
        own, other = (self.rows[task].get(name, {}) for name in pair)
        if key in other:
            ratio = own[key] / other[key] if key in own else None
            self._note(f"{task}: {key}, {pair[0]} / {pair[1]}", ratio, bound, own)

    def claim_above(self, task: str, three: tuple[str, str, str], key: str, bound: float) -> None:
        """Note the same for what is above another run, mostly the start of the interpreter."""
        own, start, other = (self.rows[task].get(name, {}) for name in three)
        if key in own and key in start and key in other:
            ratio = (own[key] - start[key]) / other[key]
            what = f"{task}: {key}, {three[0]} above {three[1]} / {three[2]}"
            self._note(what, ratio, bound, own)

    def most(self, task: str, name: str, key: str, bound: float) -> None:
        """Note what a figure may be at most."""
        own = self.rows[task][name]
        self._note(f"{task}: {key}, {name}", own.get(key), bound, own)

    def _note(self, what: str, value: float | None, bound: float, own: Row) -> None:
        # What failed does not hold.
        note = f"failed: {own['failure']}" if "failure" in own else ""
        self.claims.append(Claim(what, value, bound, note))

    def show(self, task: str, base: str) -> None:
        """Print a task's table, figures also as ratios to a contestant's."""
        rows = self.rows.get(task, {})
        reference = rows.get(base, {})
        print(f"\n## {task}\n\n| contestant | CPU s | wall s | peak MiB | bytes | of {base} |")
        print("|---|---|---|---|---|---|")
        for name, row in rows.items():
            if "failure" in row:
                print(f"| {name} | {row['failure']} | | | | |")
                continue
            ratios = ""
            if "cpu_s" in reference:
                pairs = (("cpu_s", "CPU"), ("rss_peak_mib", "memory"), ("output_bytes", "bytes"))
                ratios = ", ".join(
                    f"{text} {row[key] / reference[key]:.2f}"
                    for key, text in pairs
                    if reference[key]
                )
            figures = f"{row['cpu_s']} | {row['wall_s']} | {row['rss_peak_mib']}"
            print(f"| {name} | {figures} | {row['output_bytes']:,} | {ratios} |")
        sys.stdout.flush()


def find_data() -> Path:
    """Find the folder of the real data."""
    told = os.environ.get("SEQMILL_REAL_DATA")
    return Path(told) if told else HERE.parent.parent / "shared" / "data" / "real"


def measure_yeasts(bench: Bench, data: Path) -> None:
    """Create, add to and read the seven yeasts."""
    files = sorted(str(path) for path in (data / "yeast").glob("*.fa.gz"))
    if not files:
        print("no yeasts: SEQMILL_REAL_DATA is not set")
        return
    files.sort(key=lambda path: "S288C" not in path)
    agc, zstd = shutil.which("agc"), shutil.which("zstd")
    ours, theirs = bench.folder / "ours.agc", bench.folder / "agc.agc"
    for label, sizes, agc_sizes in (("k 21, S 10000", _SIZES, _AGC_SIZES), ("defaults", (), ())):
        task = f"create: 7 yeasts, {label}"
        for threads in ("1", "2"):
            command = [_SEQMILL, "pack", "-q", "-f", "-@", threads, "-o", str(ours), *sizes, *files]
            bench.run(task, f"seqmill, {threads} threads", command, ours)
            if agc:
                made = [agc, "create", *agc_sizes, "-t", threads, "-o", str(theirs), *files]
                bench.run(task, f"agc, {threads} threads", made, theirs)
        command = [_SEQMILL, "pack", "-q", "-f", "-@", "2", "-m", "85MB", "-o", str(ours)]
        bench.run(task, "seqmill, -m 85MB", [*command, *sizes, *files], ours)
        bench.run(
            task, "seqmill --level max", [*command[:-4], "-o", str(ours), "--level", "max", *sizes,
                                          *files], ours
        )  # fmt: skip
        if zstd:
            out = bench.folder / "all.zst"
            line = f"zcat {' '.join(files)} | {zstd} -q -f -19 --long=31 -o {out}"
            bench.run(task, "zstd -19 --long=31", ["bash", "-c", line], out, once=True)
        bench.show(task, "agc, 2 threads")
        for threads in ("1", "2"):
            pair = f"seqmill, {threads} threads", f"agc, {threads} threads"
            for key, most in (("cpu_s", 1.0), ("rss_peak_mib", 0.5), ("output_bytes", 1.0)):
                bench.claim(task, pair, key, most)
        bench.claim(task, ("seqmill, 2 threads", "agc, 2 threads"), "wall_s", 0.8)
        bench.claim(task, ("seqmill --level max", "agc, 2 threads"), "output_bytes", 0.95)
        bench.most(task, "seqmill, -m 85MB", "rss_peak_mib", 85e6 / _MIB)
    make = [_SEQMILL, "pack", "-q", "-f", "-o", str(ours), *_SIZES]
    subprocess.run([*make, *files], check=True)
    whole = ours.stat().st_size
    measure_reading(bench, ours, agc)
    subprocess.run([*make, *files[:6]], check=True)
    subprocess.run([_SEQMILL, "pack", "-q", "--append", str(ours), files[6]], check=True)
    bench.claims.add("added / at once, bytes", ours.stat().st_size / whole, 1.02, least=False)


def measure_reading(bench: Bench, archive: Path, agc: str | None) -> None:
    """Read all, one sample, and regions."""
    out = bench.folder / "out.fa"
    for task, ours, theirs in (
        ("extract: all", ["--all"], ["getcol"]),
        ("extract: one sample", ["--sample", "SK1"], ["getset"]),
    ):
        command = [_SEQMILL, "unpack", str(archive), *ours, "-q", "-f", "-@", "1", "-o", str(out)]
        bench.run(task, "seqmill", command, out)
        if agc and theirs == ["getcol"]:
            bench.run(task, "agc", ["bash", "-c", f"{agc} getcol {archive} > {out}"], out)
        elif agc:
            bench.run(task, "agc", [agc, "getset", "-o", str(out), str(archive), "SK1"], out)
        listing = [_SEQMILL, "unpack", str(archive), "--list"]
        bench.run(task, "seqmill, list only", listing, None)
        bench.show(task, "agc")
        bound = 0.9 if "all" in task else 1.0
        bench.claim(task, ("seqmill", "agc"), "cpu_s", bound)
        bench.claim_above(task, ("seqmill", "seqmill, list only", "agc"), "cpu_s", bound)
    rng = random.Random(1)  # noqa: S311 - places to read
    with Archive(archive) as opened:
        contigs = [contig for sample in opened.values() for contig in sample.contigs]
        places = []
        for _ in range(_REGIONS):
            contig = rng.choice(contigs)
            start = rng.randrange(contig.length - 1000)
            places.append((contig, start))
        for contig, start in places:
            contig.text(start, start + 1000)
        began = time.process_time()
        for contig, start in places:
            contig.text(start, start + 1000)
        rate = _REGIONS / (time.process_time() - began)
    bench.claims.add("regions of 1 kb in a CPU second, warm", rate, 20_000, least=True)


def measure_viruses(bench: Bench, data: Path) -> None:
    """Pack the SARS-CoV-2 genomes of one file, and read one of them."""
    packed = data / "collections" / "sarscov2_even_51483.fa.zst"
    if not packed.exists() or shutil.which("zstd") is None:
        print("no SARS-CoV-2 genomes, or no zstd")
        return
    plain, out = bench.folder / "sars.fa", bench.folder / "sars.agc"
    subprocess.run(["zstd", "-q", "-f", "-d", "--long=27", packed, "-o", plain], check=True)
    task = "create: 51,483 SARS-CoV-2 genomes"
    command = [_SEQMILL, "pack", "-q", "-f", "-m", "256MB", "--samples", "record", "--letters", "n"]
    bench.run(task, "seqmill", [*command, "-o", str(out), str(plain)], out)
    bench.show(task, "seqmill")
    bench.most(task, "seqmill", "output_bytes", 2.5e6)
    bench.most(task, "seqmill", "rss_peak_mib", 256e6 / _MIB)
    bench.most(task, "seqmill", "cpu_s", 60)
    with Archive(out) as opened:
        names = list(opened)
        slowest = 0.0
        for name in random.Random(2).sample(names, 200):  # noqa: S311 - genomes to read
            began = time.perf_counter()
            opened[name].contigs[0].text()
            slowest = max(slowest, time.perf_counter() - began)
    what = "one genome out of an open archive, ms (slowest of 200)"
    bench.claims.add(what, 1000 * slowest, 50, least=False)


def measure_large(bench: Bench, bases: int) -> None:
    """Pack a simulated reference and one genome like it."""
    agc = shutil.which("agc")
    rng = random.Random(3)  # noqa: S311 - a genome
    table = bytes(b"ACGT"[i % 4] for i in range(256))
    text = bytearray(rng.randbytes(bases).translate(table))
    files = []
    for name in ("large0", "large1"):
        path = bench.folder / f"{name}.fa"
        with path.open("wb") as out:
            for i in range(0, bases, 14_000_000):
                out.write(b">chr%d\n" % (i // 14_000_000) + text[i : i + 14_000_000] + b"\n")
        files.append(str(path))
        for _ in range(bases // 200):
            text[rng.randrange(bases)] = rng.choice(b"ACGT")
    ours, theirs = bench.folder / "large.agc", bench.folder / "large-agc.agc"
    task = f"create: a reference of {bases:,} bases and one genome"
    memory = str(64 * 10**6 + bases * 5 // 16)
    for label, more in (("seqmill", []), (f"seqmill, -m {memory}", ["-m", memory])):
        command = [_SEQMILL, "pack", "-q", "-f", "-@", "2", "-o", str(ours), *more, *files]
        bench.run(task, label, command, ours)
    bench.most(task, f"seqmill, -m {memory}", "rss_peak_mib", int(memory) / _MIB)
    if agc:
        bench.run(task, "agc", [agc, "create", "-t", "2", "-o", str(theirs), *files], theirs)
    bench.claim(task, (f"seqmill, -m {memory}", "agc"), "rss_peak_mib", 0.15)
    bench.show(task, "agc")


def measure_contigs(bench: Bench) -> None:
    """Show that a sample of many contigs takes linear time."""
    rng = random.Random(5)  # noqa: S311 - contigs
    agc = shutil.which("agc")
    for count in (20_000, 80_000):
        path = bench.folder / f"contigs{count}.fa"
        with path.open("w") as out:
            for i in range(count):
                out.write(f">c{i}\n{''.join(rng.choices('ACGT', k=300))}\n")
        ours = bench.folder / "contigs.agc"
        command = [_SEQMILL, "pack", "-q", "-f", "-@", "1", "-o", str(ours), str(path)]
        bench.run(f"create: {count:,} contigs of 300 bases", "seqmill", command, ours)
        if agc:
            made = [agc, "create", "-o", str(ours), str(path)]
            bench.run(f"create: {count:,} contigs of 300 bases", "agc", made, ours)
        bench.show(f"create: {count:,} contigs of 300 bases", "agc")


def main() -> None:
    """Run what is asked for and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("yeasts", "viruses", "large", "contigs"))
    parser.add_argument("--large-bases", type=int, default=98_000_000)
    arguments = parser.parse_args()
    home = os.environ.get("SEQMILL_BENCH_DIR")
    folder = Path(home or "/tmp", "seqmill-bench-pack")  # noqa: S108 - the default of many tools
    folder.mkdir(parents=True, exist_ok=True)
    bench, machine = Bench(folder, arguments.rounds), _measure.machine()
    data = find_data()
    wanted = arguments.only
    try:
        if wanted in (None, "yeasts"):
            measure_yeasts(bench, data)
        if wanted in (None, "viruses"):
            measure_viruses(bench, data)
        if wanted in (None, "large"):
            measure_large(bench, arguments.large_bases)
        if wanted in (None, "contigs"):
            measure_contigs(bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missing = [name for name in ("agc", "zstd") if shutil.which(name) is None]
    document = {"machine": machine, "missing_peers": missing, "pack": bench.rows}
    write_results("pack", document, bench.claims)


if __name__ == "__main__":
    main()
