from __future__ import annotations

import importlib.util
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from seqmill.cli import _html
from seqmill.cli._html import Section, Table, write_page
from seqmill.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pictures = pytest.importorskip("seqmill.cli._pictures")
overview = pytest.importorskip("seqmill.cli._overview")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$x^2$\x07"
VOID = {"meta", "br", "img", "link", "hr", "input"}


def make_document() -> dict[str, Any]:
    mapq = [0] * 256
    mapq[0], mapq[37], mapq[60] = 100, 20, 10_000
    return {
        "schema": "seqmill.metrics/1",
        "job": {
            "command": "convert",
            "argv": ["seqmill", "convert", HOSTILE],
            "version": "1.2.3",
            "features": ["avx2"],
            "started": "2026-01-31T12:59:00.123456Z",
            "status": "ok",
            "error": HOSTILE,
        },
        "inputs": [{"path": HOSTILE, "bytes": 1_000_000}],
        "outputs": [{"path": "out.parquet", "bytes": 700_000, "records": 10_120}],
        "options": {"profile": HOSTILE, "threads": 2, "regions": [HOSTILE]},
        "totals": {"records_out": 10_120, "wall_s": 1.5, "bytes_in": 1_000_000},
        "stages": [
            {"name": HOSTILE, "threads": 1, "busy_s": 1.0, "wait_input_s": 0.5},
            {"name": "write", "threads": 1, "busy_s": 0.1, "wait_input_s": None},
        ],
        "memory": {
            "limit": 1 << 29,
            "rss_peak": 1 << 27,
            "consumers": [{"name": HOSTILE, "peak": 5}],
        },
        "detail": {
            "warnings": [HOSTILE],
            "bottleneck": HOSTILE,
            "memory_samples": [[0.0, 1e8], [0.5, 1.2e8], [1.0, 1.1e8]],
            "overview": {
                "mapq": mapq,
                "flags": [10_000, 9_000, 100, 100, 5_000, 5_000, 5_000, 5_000, 3, 0, 700, 8],
                "length_log2_bins": {"edges": [64, 128, 256, 512], "counts": [1, 10_000, 119]},
                "tlen": {"edges": [0, 100, 200, 300], "counts": [5, 80, 20]},
                "references": [
                    {"name": HOSTILE, "length": 1000, "records": 9_000, "bases": 90_000},
                    {"name": "rest", "length": None, "records": 1_000, "bases": 5},
                ],
                "tags": [{"tag": "NM", "type": "i", "count": 10_000}],
                "quality": [0] * 30 + [10_120] + [0] * 63,
            },
        },
    }


@pytest.fixture
def document() -> dict[str, Any]:
    return make_document()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(tmp_path_factory.mktemp("page"), make_document())


def page_of(tmp_path: Path, document: dict[str, Any]) -> str:
    path = tmp_path / "page.html"
    sections = overview.alignment_sections(document)
    write_page(path, title=f"A page {HOSTILE}", document=document, sections=sections)
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Collects elements with their attributes and checks that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parse(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    elements.close()
    assert elements.open == []
    return elements


def test_page_is_small_and_well_formed(page: str) -> None:
    assert len(page.encode()) <= _html.MOST_BYTES
    elements = parse(page)
    captions = "".join(elements.texts)
    for caption in ("Flags", "Mapping quality", "Read length", "Template length", "Tags"):
        assert caption in captions
    assert sum(tag == "svg" for tag, _ in elements.found) == 8


def test_page_loads_nothing(page: str) -> None:
    assert "://" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    for tag, attributes in parse(page).found:
        assert tag not in {"link", "img", "iframe", "object", "image"}
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href"}:
                assert (value or "").startswith("#")


def test_text_of_the_user_is_escaped(page: str) -> None:
    elements = parse(page)
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "metrics"}]
    assert not any(name.startswith("on") for _, a in elements.found for name in a)
    assert "alert(1)" in "".join(elements.texts)


def test_metrics_are_embedded_as_they_were(page: str) -> None:
    found = re.search(
        r'<script type="application/json" id="metrics">(.*?)</script>', page, re.DOTALL
    )
    assert found is not None
    assert json.loads(found[1]) == make_document()


def test_pictures_follow_the_theme(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 - our own
        colors = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg))
        assert colors <= {"none"} | {c for c in colors if c.startswith("var(--")}, colors


def test_same_figures_give_the_same_page(
    tmp_path: Path, page: str, document: dict[str, Any]
) -> None:
    assert page_of(tmp_path, document) == page


def test_page_of_a_large_job_stays_small(tmp_path: Path, document: dict[str, Any]) -> None:
    document["inputs"] = [{"path": f"{i}{'x' * 200}.bam", "bytes": i} for i in range(20_000)]
    document["outputs"] = document["inputs"]
    document["detail"]["warnings"] = ["w" * 5_000] * 3_000
    document["detail"]["memory_samples"] = [[i / 10, 1e8 + i] for i in range(50_000)]
    references = document["detail"]["overview"]["references"]
    references += [
        {"name": f"{'c' * 300}{i}", "length": 5, "records": 1, "bases": 1} for i in range(9_000)
    ]
    page = page_of(tmp_path, document)
    assert len(page.encode()) <= _html.MOST_BYTES
    parse(page)


@pytest.mark.parametrize(
    "part", ["mapq", "flags", "length_log2_bins", "tlen", "references", "tags", "quality"]
)
def test_missing_parts_of_the_overview_are_left_out(document: dict[str, Any], part: str) -> None:
    del document["detail"]["overview"][part]
    sections = overview.alignment_sections(document)
    assert sum(len(section.figures) for section in sections) == 6


@pytest.mark.parametrize("empty", [{}, {"detail": None, "totals": None}, {"detail": {}}])
def test_almost_nothing_is_enough_for_a_page(tmp_path: Path, empty: dict[str, Any]) -> None:
    assert "A page" in page_of(tmp_path, empty)


def test_empty_overview_has_no_sections() -> None:
    nothing = {"mapq": [0] * 256, "tags": [], "references": [], "quality": [], "tlen": {}}
    assert overview.alignment_sections({"detail": {"overview": nothing}}) == []


def test_failed_job_says_why(tmp_path: Path, document: dict[str, Any]) -> None:
    document["job"] |= {"status": "failed", "error": "BgzfError: x.bam: bad block"}
    page = page_of(tmp_path, document)
    assert "BgzfError: x.bam: bad block" in page
    assert 'class="status failed"' in page


def test_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    table = Table(("name", "n"), [(f"row {i}", str(i)) for i in range(1_000)], right=("n",))
    path = tmp_path / "page.html"
    write_page(path, title="x", document={}, sections=[Section(title="t", table=table)])
    assert "and 940 more" in path.read_text()


def test_without_the_extra_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=re.escape("pip install 'seqmill[report]'")):
        write_page(tmp_path / "page.html", title="x", document={})
    assert list(tmp_path.iterdir()) == []


def test_names_with_odd_letters_do_not_stop_a_picture() -> None:
    names = ["日本語", "$x_{", "\x00\x1b[31m", "<b>&", "ü" * 100]
    svg = pictures.draw_bars(names, [("records", range(5), list("abcde"))], label=HOSTILE[:-1])
    text = "".join(ET.fromstring(svg).itertext())  # noqa: S314 - our own
    assert "$x_{" in text
    assert "\x1b" not in text


def test_rate_belongs_to_the_records_that_were_read() -> None:
    totals = {"records_in": 150_000, "records_out": 11_158_028, "records_per_s": 70_000.0}
    assert _html._tiles({"totals": totals})[0] == ("records read", "150,000", "70,000 a second")
    kept = {"records_in": 150_000, "records_out": 20_000, "records_per_s": 70_000.0}
    assert _html._tiles({"totals": kept})[0] == ("records", "20,000", "70,000 a second")
