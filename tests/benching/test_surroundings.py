import json
import subprocess
from pathlib import Path

import pytest

from streamtrack.benching import surroundings


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.requires(program="git", install="apt-get install git")
def test_the_commit_and_whether_something_was_changed_since(tmp_path: Path) -> None:
    assert surroundings.commit(tmp_path) is None
    git(tmp_path, "init")
    assert surroundings.commit(tmp_path) is None
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert surroundings.commit(tmp_path) == head
    (tmp_path / "file").write_text("b")
    assert surroundings.commit(tmp_path) == f"{head}+"


def test_the_machine_is_told_in_words_and_for_programs() -> None:
    found = surroundings.machine()
    assert "core" in found["processor"]
    assert json.loads(json.dumps(found)) == found
    assert found["facts"]["cpu"]["cores"] >= 1


def test_versions_and_devices() -> None:
    assert {"python", "streamtrack", "numpy", "av"} <= surroundings.versions().keys()
    assert surroundings.devices()[0] == "cpu"


def test_other_work_is_noticed() -> None:
    facts = {"facts": {"cpu": {"usable_cores": 4}}}
    assert "load 2.5 on 4 cores" in surroundings.other_work({"load_at_start": 2.5, **facts})
    assert surroundings.other_work({"load_at_start": 1.5, **facts}) == ""
    assert surroundings.other_work({"load_at_start": None}) == ""
