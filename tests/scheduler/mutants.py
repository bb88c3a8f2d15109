"""Defects to plant in the scripts. The state machine must find each of them.

A mutant replaces a piece of text in every script that has it. Where a script is rewritten, so is its mutant:
`Mutant.plant` fails if the text is not there any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from turgor.limits.lua import Script


@dataclass(frozen=True)
class Mutant:
    """One defect: what the scripts would do wrong, and the change that makes them do it."""

    defect: str
    text: str
    changed: str

    def plant(self, scripts: Iterable[Script], monkeypatch: pytest.MonkeyPatch) -> None:
        concerned = [script for script in scripts if self.text in script.source]
        assert concerned, f"no script has this text any more:\n{self.text}"
        for script in concerned:
            source = script.source.replace(self.text, self.changed)
            monkeypatch.setattr(script, "source", source)
            monkeypatch.setattr(script, "sha", hashlib.sha1(source.encode()).hexdigest())


MUTANTS = (
    Mutant("a refused task is released all the same", "  if refusing then\n    park(self, head, allow_at, refusing)\n    return\n  end\n", ""),
    Mutant("a refused task is charged to the limits that would have allowed it", "  if refusing then\n    park(", "  if refusing then\n    ledger.apply('hold', self.scopes, head, head.task, now)\n    park("),
    Mutant("nobody wakes for a closed limit", "redis.call('ZADD', WAKES, unpack(waking))", ""),
    Mutant("a limit is tried a second late", "waking[#waking + 1] = whole(self.wake)", "waking[#waking + 1] = whole(self.wake + 1000000)"),
    Mutant("the sleeping dispatchers are not told", "redis.call('RPUSH', key('bell'), '1')", ""),
    Mutant("what comes back goes to the end of its lane", "redis.call('LPUSH', self.key, element)", "redis.call('RPUSH', self.key, element)"),
    Mutant("a lane is served last in, first out", "if redis.call('RPUSH', self.key, element) == 1 then", "if redis.call('LPUSH', self.key, element) == 1 then"),
    Mutant("an old fence is good enough", "if not self or self.fence ~= fence then", "if not self then"),
    Mutant("a second claimant may run the task too", "if is_repeated and self.claimant ~= claimant then\n  return 'stale'\nend\n", ""),
    Mutant("a released task that has not started does not count in the window", "state.held = state.held + units", ""),
    Mutant("a start does not count in the window", "function window_ends.start(rule, state, units)\n", "function window_ends.start(rule, state, units)\n  if units then\n    state.held = math.max(0, state.held - units)\n    return\n  end\n"),
    Mutant("a window forgets after half its period", "drop_expired(state, now - rule.period)", "drop_expired(state, now - rule.period / 2)"),
    Mutant("a bucket has room for one more", "(rule.capacity - units) * rule.period", "(rule.capacity + 1 - units) * rule.period"),
    Mutant("the end of a task does not free its slot", "in_flight.unhold, in_flight.finish = free, free", "in_flight.unhold = free"),
    Mutant("the higher priority has no advantage", "return (9 - priority) * BAND", "return 0"),
    Mutant("a start leaves no room in the broker's queue", "state.unclaimed = math.max(0, state.unclaimed - 1)", ""),
    Mutant("starts leave places free for ever", "depth.room(queue) < room.refill(queue) then", "depth.room(queue) < math.huge then"),
    Mutant("the broker's queue takes one more than the workers can", "return state.unclaimed < rule.capacity and", "return state.unclaimed <= rule.capacity and"),
    Mutant("a submit that is repeated after the task has gone brings it back", " or memory.knows(token)", ""),
    Mutant("a release that is lost is taken for one that lies in the queue", "return message and redis.call('LPOS'", "return message and claim_within or redis.call('LPOS'"),
    Mutant("what a lost release held is never given back", "lease.apply(self, 'unhold'", "tostring(self"),
    Mutant("a change of the limits does not concern what waits", "elseif dispatched ~= definitions.version then", "elseif false then"),
    Mutant("a delayed task comes a millisecond early", "if due > now then", "if due > now + 1000 then"),
    Mutant("a paused scope admits", "return record.fields.paused_by and 'paused'", "return nil"),
    Mutant("a closed scope opens at once", "  return opens_at(record) + math.ceil(", "  return now - math.ceil("),
    Mutant("what opens admits all at once", "math.ceil(ROUND * (exponent - 2 + 2 * share))", "0"),
    Mutant("an admission of a ramp is not counted", "whole(tonumber(record.fields.admitted) + units)", "record.fields.admitted"),
    Mutant("a throttled task goes on without closing its scope", "closure.set(record, now + tonumber(for_us), reason)", "tostring(reason)"),
    Mutant("a lane that has more work is forgotten", "head)\n    lane.place(self)\n", "head)\n"),
    Mutant("a task ages from its submit and not from its time on", "struct.pack('<d', due)", "struct.pack('<d', now)"),
    Mutant("what is reserved is for everybody", "< rule.reserved_for and rule.below or rule\n", "< rule.reserved_for and rule or rule\n"),
    Mutant("what is reserved is for nobody", "return rule.below and (cost.priority or rule.reserved_for) < rule.reserved_for and rule.below or rule\n", "return rule.below or rule\n"),
    Mutant("a task that has waited too long is dropped in silence", "redis.call('HSET', key('expired'), waiting.task,", "tostring("),
    Mutant("a backlog takes one more than its cap", "(freed_tasks or 0) >= cap.tasks then", "(freed_tasks or 0) > cap.tasks then"),
    Mutant("a released task stays in its backlog", "capped.leave(from.lane.scopes, from.lane.name, from.element, release.tasks[i], #messages[i])", "tostring(from)"),
    Mutant("a task that comes back is not counted", "  capped.return_to(target.scopes, self.task)\n", ""),
    Mutant("what has waited before its cap was stated is not counted", "    take_in(lane_name, element)\n", ""),
    Mutant("a released task still stands for others", "    keyed.leave(release.tasks[i], messages[i])\n", ""),
    Mutant("a task that is gone still stands for others", "  keyed.leave(task, message)\n", ""),
    Mutant("a task that is due later stands for one that is due now", "member(under, due, '\\255')", "under .. '\\31'"),
    Mutant("what a publisher had taken that died is never published", "redis.call('ZADD', outbox.releasing, whole(now + tonumber(within_us)), entry)", "redis.call('ZREM', outbox.releasing, entry)"),
    Mutant("two publishers are given the same release", "redis.call('ZADD', outbox.releasing, whole(now + tonumber(within_us)), entry)", ""),
    Mutant("a release that is yet to be published is taken for lost", "  if redis.call('ZSCORE', outbox.releasing, outbox.entry(self.task, self.fence)) then\n    return claim_within", "  if false then\n    return claim_within"),
    Mutant("a publication does not give the claim its time", "redis.call('ZADD', LEASES, whole(now + tonumber(claim_within_us)), task)", ""),
)  # fmt: skip
