import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmill._filters import FLAG_BITS, parse_filter, parse_flags
from seqmill.errors import InputError, NotFoundError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mapq >= 30", {"compare": ["mapq", ">=", 30]}),
        ("30 <= mapq", {"compare": ["mapq", ">=", 30]}),
        ("rname == 'chr1'", {"compare": ["rname", "==", "chr1"]}),
        ("tlen < -5", {"compare": ["tlen", "<", -5]}),
        ("tags.NM <= 2", {"compare": ["tags.NM", "<=", 2]}),
        ("tags['X0'] != 1.5", {"compare": ["tags.X0", "!=", 1.5]}),
        ("flag.dup", {"flag": 0x400}),
        ("flag.PROPER_PAIR", {"flag": 2}),
        ("is_supplementary", {"flag": 0x800}),
        ("not is_unmapped", {"not": {"flag": 4}}),
        ("True", {"constant": True}),
        ("pos is None", {"is_null": "pos"}),
        ("cb is not None".replace("cb", "tags.CB"), {"not": {"is_null": "tags.CB"}}),
        ("rname not in ['chrM']", {"not": {"in": ["rname", ["chrM"]]}}),
        ("flag & 0x904 == 0", {"not": {"or": [{"flag": 4}, {"flag": 256}, {"flag": 2048}]}}),
        ("flag & 3 == 3", {"and": [{"flag": 1}, {"flag": 2}]}),
        ("flag & 4 != 0", {"not": {"not": {"or": [{"flag": 4}]}}}),
        (
            "10 < pos <= 20 or mapq == 255",
            {
                "or": [
                    {"and": [{"compare": ["pos", ">", 10]}, {"compare": ["pos", "<=", 20]}]},
                    {"compare": ["mapq", "==", 255]},
                ]
            },
        ),
    ],
)
def test_forms(text: str, expected: object) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("mapq >=", "cannot be read"),
        ("mapq", "'mapq' is no condition"),
        ("mapq + 1 > 3", "write flag & MASK"),
        ("mapq > rname", "neither a number nor text"),
        ("mapq > '3'", "is text, but mapq is a number"),
        ("rname == 3", "is a number, but rname is text"),
        ("rname in 'chr1'", "no list of values"),
        ("mapq is 3", "can only be compared"),
        ("mapq < None", "cannot be ordered"),
        ("tags.NMX > 1", "two characters"),
        ("pos > 9223372036854775808", "beyond 64 bits"),
        ("__import__('os').system('true')", "is no condition"),
        ("(lambda: True)()", "is no condition"),
        ("flag & 4 == 2", "write flag & MASK"),
        ("((" * 5000, "cannot be read"),
    ],
)
def test_refusals_name_the_part(text: str, words: str) -> None:
    with pytest.raises(InputError, match="filter") as caught:
        parse_filter(text)
    assert words in str(caught.value)
    assert caught.value.option == "filter"


@pytest.mark.parametrize(("text", "near"), [("mapqq > 3", "mapq"), ("flag.dupl", "dup")])
def test_unknown_names_get_suggestions(text: str, near: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        parse_filter(text)
    assert near in caught.value.suggestions


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse_filter(text)
    except (InputError, NotFoundError):
        return
    assert len(found) == 1


@given(st.integers(0, 0xFFF))
def test_flags_as_names_and_as_numbers(flags: int) -> None:
    names = ",".join(name for name, bit in FLAG_BITS.items() if flags & bit)
    if names:
        assert parse_flags(names) == flags
    assert parse_flags(flags) == parse_flags(str(flags)) == parse_flags(hex(flags)) == flags


@pytest.mark.parametrize("value", ["", "DUPP", "1,", "-1", 65536, "0x", True, None, 1.5])
def test_wrong_flags(value: object) -> None:
    with pytest.raises(InputError, match="exclude_flags takes"):
        parse_flags(value, "exclude_flags")  # type: ignore[arg-type]
