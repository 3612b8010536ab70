"""What a package says of itself, and how one is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_coreml import package
from streamtrack_coreml.package import NOTES_KEY, Size

Writer = Callable[..., Path]
Change = Callable[[Path, Callable[[dict[str, Any]], Any]], None]

SIDES = st.integers(1, 4096)
SIZES = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4, unique=True)
HASH = "0123456789abcdef" * 4


def test_reads_names_shapes_and_notes(write: Writer, runtime: Any) -> None:
    path = write((1, 3, 64, 96), more=((1, 3, 32, 32),), names={"doubled": "output_1", "means": "m"})
    found = package.read(path, runtime)
    assert (found.path, found.feature) == (path, "picture")
    assert found.shapes == ((1, 3, 64, 96), (1, 3, 32, 32))
    assert [(output.name, output.feature) for output in found.outputs] == [("doubled", "output_1"), ("means", "m")]
    assert found.outputs[0].shape == (1, 3, None, None)
    assert found.conventions() == ModelSpec(name="conformance", head="yunet", channels="bgr")


def test_a_range_of_sizes_is_free(write: Writer, runtime: Any) -> None:
    found = package.read(write((1, 3, None, 96)), runtime)
    assert found.shapes == ((1, 3, None, 96),)
    assert found.shape_for((64, 96)) == (1, 3, 64, 96)
    assert found.shape_for(None) == (1, 3, None, 96)
    with pytest.raises(ModelLoadError, match="takes pictures of 96xany, not 64x64"):
        found.shape_for((64, 64))


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (lambda d: d["inputs"].update(second=d["inputs"]["picture"]), r"has 2 inputs \(picture, second\)"),
        (lambda d: d["inputs"].clear(), "has 0 inputs"),
        (lambda d: d["inputs"]["picture"].update(kind="imageType"), "takes imageType .* where a float array"),
        (lambda d: d["inputs"]["picture"].update(type=131104), "takes multiArrayType"),
        (lambda d: d["inputs"]["picture"].update(shape=[1, 3, 32]), r"\[\[1, 3, 32\]\]"),
        (lambda d: d["inputs"]["picture"].update(shape=[1, 1, 32, 32]), "float array"),
        (lambda d: d.update(kind="neuralNetwork"), "no ML program .*neuralNetwork"),
        (lambda d: d["metadata"].update({NOTES_KEY: "{}"}), "exported by another version of streamtrack"),
        (lambda d: d["metadata"].update({NOTES_KEY: "?"}), "exported by another version of streamtrack"),
        (lambda d: d.pop("kind"), "cannot be read"),
    ],
)
def test_what_is_no_model_of_pictures_is_refused(
    write: Writer, runtime: Any, change: Change, how: Callable[[dict[str, Any]], Any], complaint: str
) -> None:
    path = write((1, 3, 32, 64))
    change(path, how)
    with pytest.raises(ModelLoadError, match=complaint) as caught:
        package.read(path, runtime)
    assert path.name in str(caught.value)


def test_conventions_of_a_later_version_are_none(write: Writer, runtime: Any, change: Change) -> None:
    path = write((1, 3, 32, 64))
    change(
        path,
        lambda d: d["metadata"].update({NOTES_KEY: d["metadata"][NOTES_KEY].replace('"channels"', '"arrangement"')}),
    )
    assert package.read(path, runtime).conventions() is None


@given(sizes=SIZES, precision=st.sampled_from(("fp16", "fp32")), stem=st.sampled_from(("a", "a-b", "fp16", "1x1")))
def test_what_was_exported_is_found_by_hash_size_and_precision(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[Size], precision: Any, stem: str
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    path = folder / package.file_name(Path(f"{stem}.onnx"), HASH, sizes, precision)
    path.mkdir()
    for size in (None, *sizes):
        for asked in ("auto", precision):
            assert package.find(HASH, [folder / "absent", folder], size, asked) == path
    other = "fp32" if precision == "fp16" else "fp16"
    assert package.find(HASH, [folder], None, other) is None
    assert package.find(HASH[::-1], [folder], None, "auto") is None
    assert package.find(HASH, [folder], (4097, 1), "auto") is None


def test_fp16_comes_before_fp32_and_the_first_folder_before_the_second(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    names = {p: package.file_name(Path("a.onnx"), HASH, [(32, 32)], p) for p in ("fp16", "fp32")}  # type: ignore[arg-type]
    for path in (first / names["fp32"], second / names["fp32"], second / names["fp16"]):
        path.mkdir(parents=True)
    (first / f"a-{HASH[:16]}-odd.mlpackage").mkdir()
    assert package.find(HASH, [second, first], None, "auto") == second / names["fp16"]
    assert package.find(HASH, [first, second], None, "auto") == first / names["fp32"]


def test_a_digest_tells_names_and_contents_apart(tmp_path: Path) -> None:
    digests = set()
    for n, files in enumerate(({"a": b"1"}, {"b": b"1"}, {"a": b"2"}, {"a": b"1", "c/d": b""}, {})):
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        digests.add(package.digest(folder))
    assert len(digests) == 5


def test_one_line() -> None:
    assert package.one_line(ValueError("two\n  lines. ")) == "two lines"
    assert package.one_line(ValueError()) == "ValueError"
    line = package.one_line(ValueError("cannot " + "0, " * 9999 + "of two types."))
    assert len(line) < 400
    assert line.startswith("cannot 0, ")
    assert line.endswith(" of two types")
