import errno
import inspect
import pickle
import subprocess
import sys

import pytest

from seqmill import errors
from seqmill.errors import FormatError, OutputExistsError, SeqmillError, exit_code

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, SeqmillError)
]
PLACES = ("path", "offset", "voffset", "record", "line", "field")


@pytest.mark.parametrize("cls", CLASSES)
def test_class_is_made_from_a_message_alone_as_the_engine_does(cls: type[SeqmillError]) -> None:
    error = cls("x.bam: something is wrong")
    assert str(error) == "x.bam: something is wrong"
    assert error.hint is None


@pytest.mark.parametrize("cls", CLASSES)
def test_class_is_named_listed_and_says_when_it_is_raised(cls: type[SeqmillError]) -> None:
    assert cls.__name__.endswith("Error")
    assert cls.__name__ in errors.__all__
    assert cls.__doc__
    assert cls is SeqmillError or "Raised when" in cls.__doc__


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, FormatError)])
def test_place_of_damage_is_unknown_until_set(cls: type[FormatError]) -> None:
    error = cls("x")
    assert [getattr(error, name) for name in PLACES] == [None] * len(PLACES)
    error.voffset = 5
    assert error.voffset == 5
    assert cls("y").voffset is None


@pytest.mark.parametrize("cls", CLASSES)
def test_error_survives_pickling_with_its_attributes(cls: type[SeqmillError]) -> None:
    error = cls("text")
    error.hint = "do this"
    if issubclass(cls, OutputExistsError | FormatError):
        error.path = "x.bam"  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is cls
    assert str(copy) == "text"
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.NotFoundError, LookupError),
        (errors.FormatError, ValueError),
        (errors.TruncatedError, FormatError),
        (errors.BudgetError, MemoryError),
        (errors.OutputExistsError, FileExistsError),
        (errors.InternalError, RuntimeError),
    ],
)
def test_class_is_also_the_builtin_that_a_program_may_catch(
    cls: type[SeqmillError], builtin: type[Exception]
) -> None:
    assert issubclass(cls, builtin)


def test_attributes_are_keywords_and_unknown_ones_are_refused() -> None:
    error = OutputExistsError("x exists", path="x")
    assert error.path == "x"
    with pytest.raises(TypeError, match="no attribute 'pathh'"):
        FormatError("x", pathh="y")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x"), 2),
        (errors.NotFoundError("x"), 2),
        (errors.OutputExistsError("x"), 2),
        (errors.FormatError("x"), 65),
        (errors.ChecksumError("x"), 65),
        (errors.SequenceReferenceError("x"), 65),
        (FileNotFoundError(errno.ENOENT, "no", "x"), 74),
        (OSError(errno.ENOSPC, "full", "x"), 74),
        (OSError(errno.ETIMEDOUT, "slow", "x"), 75),
        (BlockingIOError(errno.EAGAIN, "locked", "x"), 75),
        (errors.BudgetError("x"), 78),
        (MemoryError(), 78),
        (errors.InternalError("x"), 1),
        (errors.CancelledError("x"), 130),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(errno.EPIPE, "closed"), 141),
        (SystemExit(143), 143),
        (SystemExit(), 0),
        (SystemExit("words"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_exit_code_of_each_class(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_import_is_light() -> None:
    program = "import sys, seqmill.errors; print('numpy' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"


def test_errors_survive_what_dask_does_to_pickling() -> None:
    """Dask replaces how exceptions are pickled, for the whole process."""
    support = pytest.importorskip("tblib.pickling_support", reason="Dask is not installed")
    support.install()
    error = errors.BudgetError("text", needed=5)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), copy.needed) == (errors.BudgetError, "text", 5)
