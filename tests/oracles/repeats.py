"""The definition of repeat families (`repeats.md` Part I) in plain Python: slow, word by word."""

import math
from dataclasses import dataclass, field

NEG = -100_000
PADDING = 11_000
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


@dataclass
class Options:
    k: int
    distance: int = 0
    match: int = 1
    mismatch: int = -1
    gap_open: int = -5
    gap_extend: int = -1
    cap: int = -20
    max_extend: int = 10_000
    gap: int = 5
    stop: int = 100
    min_length: int = 50
    min_frequency: int = 3
    improvement: int = 3
    tandem: int = 500
    reprise: bool = False


@dataclass
class Oracle:
    """Runs the algorithm on records of ACGTN."""

    records: list[str]
    options: Options
    families: list[tuple[str, str, int]] = field(default_factory=list)
    elements: list[tuple[int, int, int, int, str]] = field(default_factory=list)
    """Family, record, first and last position, strand."""
    seeds: list[tuple[str, int, tuple[int, int]]] = field(default_factory=list)

    def run(self) -> "Oracle":
        self.places = [
            (r, i)
            for r, text in enumerate(self.records)
            for i in range(len(text) - self.options.k + 1)
            if "N" not in text[i : i + self.options.k]
        ]
        queue = self.rank()
        self.loop(queue)
        return self

    def kmer(self, place: tuple[int, int]) -> str:
        return self.records[place[0]][place[1] : place[1] + self.options.k]

    def listed(self, query: str) -> list[tuple[int, int]]:
        found = [
            place
            for place in self.places
            if sum(a != b for a, b in zip(self.kmer(place), query, strict=True))
            <= self.options.distance
        ]
        return [
            place
            for i, place in enumerate(found)
            if i == 0
            or place[0] != found[i - 1][0]
            or place[1] - found[i - 1][1] >= self.options.tandem
        ]

    def rank(self) -> list[tuple[int, str]]:
        seen: set[str] = set()
        candidates = []
        for place in self.places:
            kmer = self.kmer(place)
            shares = [kmer.count(b) / len(kmer) for b in "ACGT"]
            if sum(p * math.log(p) for p in shares if p) > -0.7 or kmer in seen:
                continue
            seen |= {kmer, reverse_complement(kmer)}
            lists = [self.listed(kmer), self.listed(reverse_complement(kmer))]
            count = sum(map(len, lists))
            if count >= self.options.min_frequency:
                candidates.append((-count, place, kmer, lists))
        candidates.sort(key=lambda c: c[:2])
        if self.options.reprise and candidates:
            block = min(len(candidates), 1000)
            del candidates[len(candidates) // block * block :]
        taken: set[tuple[int, int]] = set()
        for _, place, kmer, lists in candidates:
            left = [p for places in lists for p in places if not self.touches(taken, p)]
            for r, i in left:
                taken |= {(r, i + j) for j in range(self.options.k)}
            if len(left) >= self.options.min_frequency:
                self.seeds.append((kmer, len(left), place))
        self.seeds.sort(key=lambda s: (-s[1], s[2]))
        return [(count, kmer) for kmer, count, _ in self.seeds]

    def touches(self, mask: set[tuple[int, int]], place: tuple[int, int]) -> bool:
        return any((place[0], place[1] + j) in mask for j in range(self.options.k))

    def loop(self, queue: list[tuple[int, str]]) -> None:
        masked: set[tuple[int, int]] = set()
        while queue:
            queue.sort()
            _, kmer = queue.pop()
            copies = [(p, "+") for p in self.listed(kmer) if not self.touches(masked, p)]
            minus = self.listed(reverse_complement(kmer))
            copies += [(p, "-") for p in minus if not self.touches(masked, p)]
            if queue and len(copies) < max(queue)[0]:
                if len(copies) >= self.options.min_frequency:
                    queue.append((len(copies), kmer))
                continue
            if len(copies) < self.options.min_frequency:
                return
            self.family(kmer, copies, masked)

    def family(
        self, kmer: str, copies: list[tuple[tuple[int, int], str]], masked: set[tuple[int, int]]
    ) -> None:
        o = self.options
        right = self.extend(copies, left=False)
        left = self.extend(copies, left=True)
        consensus = left[::-1] + right
        spans = []
        for place, strand in copies:
            best_right = self.align(place, strand, right, left=False)
            best_left = self.align(place, strand, left, left=True)
            start, end = self.span(best_left, best_right, strand)
            r, p = place
            masked |= {(r, p + j) for j in range(start, end + 1)}
            if end - start + 1 >= o.min_length:
                spans.append((r, p + start, p + end, strand))
        if len(consensus) < o.min_length:
            return
        if not o.reprise and len(spans) < o.min_frequency:
            return
        self.elements += [(len(self.families), *span) for span in spans]
        self.families.append((kmer, consensus, len(copies)))

    def letter(self, place: tuple[int, int], strand: str, y: int, *, left: bool) -> str:
        (_r, p), k, text = place, self.options.k, self.records[place[0]]
        if strand == "+":
            at = p - 1 - y if left else p + y
        else:
            at = p + k + y if left else p + k - 1 - y
        if not 0 <= at < len(text):
            return "N"
        return COMPLEMENT[text[at]] if strand == "-" else text[at]

    def start_rows(self) -> tuple[list[int], list[int], list[int]]:
        o, w = self.options, self.options.gap
        rows = ([NEG] * (2 * w + 1), [NEG] * (2 * w + 1), [NEG] * (2 * w + 1))
        rows[0][w] = 0
        for i in range(1, w + 1):
            rows[2][w + i] = o.gap_open + o.gap_extend * (i - 1)
        return rows

    def step(
        self, rows: tuple[list[int], list[int], list[int]], letters: list[str], base: str, edge: int
    ) -> tuple[list[int], list[int], list[int]]:
        o = self.options
        old_m, old_i, old_d = rows
        band = range(len(letters))
        m = [
            max(old_m[i], old_i[i], old_d[i]) + (o.match if letters[i] == base else o.mismatch)
            for i in band
        ]
        ins = [
            max(old_m[i + 1] + o.gap_open, old_i[i + 1] + o.gap_extend)
            if i + 1 < len(letters)
            else edge
            for i in band
        ]
        dele = [edge]
        for i in band[1:]:
            dele.append(max(m[i - 1] + o.gap_open, dele[i - 1] + o.gap_extend))
        return m, ins, dele

    def extend(self, copies: list[tuple[tuple[int, int], str]], *, left: bool) -> str:
        o, w = self.options, self.options.gap
        states = [self.start_rows() for _ in copies]
        bests = [0] * len(copies)
        total_best, x_best, columns = 0, -1, ""
        for x in range(o.max_extend):
            letters = [
                [self.letter(p, s, x + i, left=left) for i in range(-w, w + 1)] for p, s in copies
            ]
            sums = []
            for base in "ACGT":
                trials = [
                    self.step(state, own, base, NEG)
                    for state, own in zip(states, letters, strict=True)
                ]
                scores = [max(NEG, *(max(row) for row in rows)) for rows in trials]
                pairs = zip(scores, bests, strict=True)
                sums.append((sum(max(0, best + o.cap, s) for s, best in pairs), trials, scores))
            at = max(range(4), key=lambda i: (sums[i][0], -i))
            columns += "ACGT"[at]
            _, states, scores = sums[at]
            bests = [max(s, best) for s, best in zip(scores, bests, strict=True)]
            total = sum(max(s, best + o.cap) for s, best in zip(scores, bests, strict=True))
            if total >= total_best + (x - x_best) * o.improvement:
                x_best, total_best = x, total
            if x - x_best >= o.stop:
                break
        return columns[: x_best + 1]

    def align(
        self, place: tuple[int, int], strand: str, columns: str, *, left: bool
    ) -> tuple[int, int, int]:
        o, w = self.options, self.options.gap
        rows = self.start_rows()
        best, x_best, o_best = 0, 0, -w
        mirror = -1 if o.reprise and strand == "-" else 1
        for x, base in enumerate(columns):
            letters = [
                self.letter(place, strand, x + mirror * i, left=left) for i in range(-w, w + 1)
            ]
            rows = self.step(rows, letters, base, 0 if o.reprise else NEG)
            high = [max(cells) for cells in zip(*rows, strict=True)]
            if max(high) > best:
                best, x_best = max(high), x
                o_best = high.index(best) - w
            if x - x_best >= o.stop:
                break
        return best, x_best, o_best

    def span(
        self, left: tuple[int, int, int], right: tuple[int, int, int], strand: str
    ) -> tuple[int, int]:
        to_right = right[1] + right[2]
        to_left = left[1] + left[2] + 1
        if not self.options.reprise:
            to_right = to_right if right[0] > 0 else -1
            to_left = to_left if left[0] > 0 else 0
        k = self.options.k
        return (-to_left, to_right) if strand == "+" else (k - 1 - to_right, k - 1 + to_left)


def reverse_complement(text: str) -> str:
    return "".join(COMPLEMENT[letter] for letter in reversed(text))
