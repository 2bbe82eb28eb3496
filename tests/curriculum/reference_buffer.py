"""The level buffer as one would write it by hand: a dict of slots, one lifetime after the other."""

import math
from dataclasses import dataclass, field


@dataclass
class Entry:
    level: tuple
    score: float
    last_seen: int
    player: int | None = None


@dataclass
class ReferenceBuffer:
    capacity: int
    minimum_fill: int
    dedupe: bool
    entries: dict = field(default_factory=dict)
    clock: int = 0
    replayed: float = 0.0

    def waiting(self):
        return [s for s, e in self.entries.items() if e.player is None]

    def write(self, levels, slots, scores, finished):
        """Scores of the finished lanes; `slots` -1 is new, -2 untracked."""
        self.clock += sum(finished)
        for slot, entry in self.entries.items():
            if entry.player is not None and slots[entry.player] != slot:
                entry.player = None
        for lane, slot in enumerate(slots):
            if finished[lane] and slot >= 0:
                entry = self.entries[slot]
                assert entry.player == lane
                entry.player, entry.last_seen = None, self.clock
                if math.isfinite(scores[lane]):
                    entry.score = scores[lane]
        new = [i for i in range(len(slots)) if finished[i] and slots[i] == -1 and math.isfinite(scores[i])]
        # by falling score, and by lane among equals
        for lane in sorted(self._merge(levels, scores, new), key=lambda i: -scores[i]):
            self._insert(levels[lane], scores[lane])

    def _merge(self, levels, scores, new):
        """Lanes whose level the buffer does not know, one for each level: the last."""
        if not self.dedupe:
            return new
        last = {levels[lane]: lane for lane in new}
        for entry in self.entries.values():
            if entry.level in last:
                entry.score, entry.last_seen = scores[last.pop(entry.level)], self.clock
        return sorted(last.values())

    def _insert(self, level, score):
        free = [s for s in range(self.capacity) if s not in self.entries]
        if free:
            slot = free[0]
        else:
            slot = min(self.waiting(), key=lambda s: (self.entries[s].score, s), default=None)
            if slot is None or not score > self.entries[slot].score:
                return
        self.entries[slot] = Entry(level, score, self.clock)

    def assign(self, old, new, finished):
        """Check the choice that was made, lanes as `(level, slot)`, and take it over."""
        replays = [i for i in range(len(old)) if finished[i] and new[i][1] >= 0]
        waiting = self.waiting()
        assert not replays or len(waiting) >= self.minimum_fill
        assert len({new[i][1] for i in replays}) == len(replays)
        for lane, (level, slot) in enumerate(new):
            if not finished[lane]:
                assert (level, slot) == old[lane]
            elif lane in replays:
                assert slot in waiting and self.entries[slot].level == level
                self.entries[slot].player = lane
            else:
                assert slot == -1
        if any(finished):
            self.replayed = len(replays) / sum(finished)
        return len(replays), len(waiting)
