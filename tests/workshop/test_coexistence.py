import subprocess
import sys
from pathlib import Path

BOTH = """
import limits
import turgor.limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

their_limiter = FixedWindowRateLimiter(MemoryStorage())
one_a_minute = limits.parse("1/minute")
assert their_limiter.hit(one_a_minute), "the library admits the first"
assert not their_limiter.hit(one_a_minute), "the library refuses the second"

refusal = turgor.limits.RateLimited(turgor.limits.Decision(allowed=False, scope="global", limit="requests/1m"))
assert refusal.decision.binding == "global requests/1m"
print(limits.__file__, turgor.limits.__file__, sep="\\n")
"""


def test_the_limits_library_and_turgor_limits_work_in_one_interpreter(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-I", "-c", BOTH], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    theirs, ours = map(Path, result.stdout.split())
    assert theirs.parts[-3:-1] == ("site-packages", "limits")
    assert ours.parts[-3:-1] == ("turgor", "limits")
