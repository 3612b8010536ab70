"""Everything that goes wrong with a real camera, over TCP and UDP: what is told, what is lost, how it goes on.

The faults strike at the same time, each its own camera: most of them are about waiting.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest
from faults import FAULTS, Fault, Outcome, rehearse
from servers import FPS, Clips, needs_servers

from streamtrack.sources import _backoff

pytestmark = needs_servers

WAYS = {"tcp": False, "udp": True}
"""How the packets come, and whether the password is asked for the digest way."""
# Stalled is after 2 s.
QUICK = {"timeout_s": 3.0, "first_frame_s": 3.0}
# Where half a second is to be expected: this says that it does not hang, on however busy a machine.
SOON_S = 15.0
MAX_GAP_S = 2.5
_AT_ONCE = 9


@pytest.fixture(scope="module")
def outcomes(clips: Clips, request: pytest.FixtureRequest) -> dict[tuple[str, str], Future[Outcome]]:
    """What became of each fault that a test of this module asks for."""
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {(params["fault"], params["transport"]) for params in asked if isinstance(params.get("fault"), Fault)}
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(_AT_ONCE) as pool:
        # What will not get better soon is tried again after half a minute.
        patch.setattr(_backoff, "LONGEST_S", 2.0)
        found = {
            (fault.name, way): pool.submit(rehearse, clips, fault, transport=way, digest=WAYS[way], options=QUICK)
            for fault, way in sorted(wanted, key=lambda pair: -pair[0].lasts_s)
        }
        pool.shutdown()
    return found


@pytest.fixture
def outcome(outcomes: dict[tuple[str, str], Future[Outcome]], fault: Fault, transport: str) -> Outcome:
    return outcomes[fault.name, transport].result()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
@pytest.mark.parametrize("transport", WAYS)
def test_a_fault(outcome: Outcome, fault: Fault, transport: str) -> None:
    watch = outcome.watch
    assert watch.error is None
    assert outcome.states == fault.states, watch.told
    if outcome.noticed is not None:
        assert outcome.noticed.at_s - outcome.struck_s < SOON_S
    assert outcome.recovered_s - outcome.mended_s < SOON_S
    # Waits are as long as chance has it, and the camera does not wait: what it made until the run was back is gone.
    waited = round((outcome.recovered_s - outcome.mended_s) * FPS) if fault.most_lost else 0
    assert 0 <= outcome.lost <= fault.most_lost + waited
    assert watch.stats.reconnects == fault.states.count("reconnecting")
    for a, b in pairwise(watch.shown):
        assert a.index < b.index
        assert a.pts_ns < b.pts_ns
        # Time is that of the wall, whatever the feed says.
        assert b.captured_ns is not None
        assert abs(b.at_s - a.at_s - (b.pts_ns - a.pts_ns) / 1e9) < SOON_S
        assert b.cut == (b.size != a.size)
        # Tracks go on unless there was too long a gap, or another size; ids are never used twice.
        ended = b.cut or b.pts_ns - a.pts_ns > MAX_GAP_S * 1e9
        assert (b.ids > a.ids) if ended else (b.ids == a.ids)
    if fault.keeps_ids is not None:
        assert outcome.kept_id == fault.keeps_ids
    assert watch.ledger is not None
    assert sum(watch.ledger[1:]) == watch.ledger.seen
