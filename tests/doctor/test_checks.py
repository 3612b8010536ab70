"""What the checks of a machine come to."""

from __future__ import annotations

import json

from streamtrack.doctor.checks import Check, as_json, exit_code

OK = Check("a", "one", "ok", "fine")
NOTE = Check("a", "two", "note", "odd", "do this", {"n": 1})
PROBLEM = Check("b", "three", "problem", "broken", exit_code=3)


def test_only_a_problem_keeps_a_run_from_starting() -> None:
    assert exit_code([]) == exit_code([OK, NOTE]) == 0
    assert exit_code([NOTE, PROBLEM, PROBLEM._replace(exit_code=5)]) == 3


def test_json_has_the_checks_by_name() -> None:
    found = json.loads(json.dumps(as_json([OK, NOTE])))
    assert found == {
        "one": {"section": "a", "mark": "ok", "text": "fine", "remedy": "", "facts": {}},
        "two": {"section": "a", "mark": "note", "text": "odd", "remedy": "do this", "facts": {"n": 1}},
    }
