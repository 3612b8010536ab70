"""``streamtrack models``."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from streamtrack.cli import main
from streamtrack.fetch import Asset
from streamtrack.models import zoo

CONTENT = b"a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/model"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a zoo of two: its yunet can be fetched and its centerface cannot."""
    assets = {
        "yunet": Asset("yunet.onnx", SHA256, len(CONTENT), (url,)),
        "centerface": Asset("centerface.onnx", SHA256, len(CONTENT), ("nowhere",)),
    }
    # Backwards: what is taken out last is put back first, and the zoo is in its order again.
    for name in [*reversed(zoo.ZOO)]:
        if name in assets:
            monkeypatch.setitem(zoo.ZOO, name, replace(zoo.ZOO[name], asset=assets[name]))
        else:
            monkeypatch.delitem(zoo.ZOO, name)
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


def test_list(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    header, *rows, place = capsys.readouterr().out.splitlines()
    columns = ["name", "kind", "what it does", "head", "input", "keypoints", "licence", "MB", "cached"]
    assert re.split(" {2,}", header) == columns
    assert [row.split() for row in rows] == [
        ["yunet", "detector", "finds", "face", "yunet", "640x640", "5", "MIT", "0.0", "no"],
        ["centerface", "detector", "finds", "face", "centerface", "up", "to", "640", "5", "MIT", "0.0", "no"],
    ]
    assert place == f"cache: {cache}"


def test_list_tells_what_is_cached_and_what_is_damaged(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.mkdir()
    (cache / "yunet.onnx").write_bytes(CONTENT)
    (cache / "centerface.onnx").write_bytes(b"?")
    main(["models", "list"])
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:3]] == ["yes", "damaged"]


def test_list_counts_classes_that_are_many(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    many = msgspec.structs.replace(zoo.ZOO["yunet"].spec, classes=("person", "bicycle", "car"))
    monkeypatch.setitem(zoo.ZOO, "yunet", replace(zoo.ZOO["yunet"], spec=many))
    main(["models", "list"])
    assert " detector  finds 3 kinds " in capsys.readouterr().out


def test_list_says_that_an_embedder_compares(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(zoo.ZOO, "yunet", replace(zoo.ZOO["yunet"], kind="embedder"))
    main(["models", "list"])
    assert " embedder  compares face " in capsys.readouterr().out


def test_list_as_json(cache: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["kind"]) == ("yunet", "detector")
    assert (first["sha256"], first["size"], first["sources"]) == (SHA256, len(CONTENT), [url])
    assert (first["path"], first["state"]) == (str(cache / "yunet.onnx"), "missing")
    assert second["classes"] == ["face"]


def test_pull_and_pull_again(cache: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "yunet"]) == 0
    assert capsys.readouterr().out == f"yunet from {url}: {cache / 'yunet.onnx'} (sha256 {SHA256})\n"
    assert main(["models", "pull", "yunet"]) == 0
    assert "yunet was there already" in capsys.readouterr().out


def test_pull_of_what_cannot_be_fetched(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "--all"]) == 5
    said = capsys.readouterr()
    assert "yunet from" in said.out
    assert "Could not get centerface.onnx: nowhere is not a source" in said.err
    assert len(said.err.splitlines()) == 2, "one line about fetching, one about what went wrong"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["pull"], "Say which models to pull: names out of yunet, centerface, or --all."),
        (["pull", "yunet", "--all"], "Say which models to pull"),
        (["pull", "yunnet"], "The zoo has no model 'yunnet'. Did you mean 'yunet'?"),
        (["path", "other"], "The zoo has no model 'other'. It has: yunet, centerface."),
    ],
)
def test_what_makes_no_sense(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_a_wrong_name_keeps_the_right_ones_from_being_pulled(cache: Path) -> None:
    assert main(["models", "pull", "yunet", "other"]) == 2
    assert not cache.exists()


def test_path_prints_nothing_else(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "path", "yunet"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{cache / 'yunet.onnx'}\n"
    assert "fetching yunet.onnx" in said.err
    assert (cache / "yunet.onnx").read_bytes() == CONTENT


def test_verify(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "pull", "yunet"])
    capsys.readouterr()
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == f"yunet: ok ({cache / 'yunet.onnx'})\ncenterface: missing\n"


def test_verify_finds_damage_and_names_both_hashes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "pull", "yunet"])
    (cache / "yunet.onnx").write_bytes(b"A model")
    assert main(["models", "verify"]) == 5
    said = capsys.readouterr()
    assert f"yunet: mismatch ({cache / 'yunet.onnx'})" in said.out
    assert f"sha256 {hashlib.sha256(b'A model').hexdigest()} instead of {SHA256}" in said.err


def test_an_action_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models"])
    assert caught.value.code == 2
    assert "ACTION" in capsys.readouterr().err
