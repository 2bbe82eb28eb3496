"""Reference implementation of the level buffer in plain Python: a dict of slots, one lifetime after the other."""

import math
from dataclasses import dataclass, field


@dataclass
class Entry:
    """A scored level; `lifetime` is the index of the lifetime that replays it."""

    level: tuple
    score: float
    last_seen: int
    num_updates: int | None = None


@dataclass
class ReferenceBuffer:
    """The rules of `Replay` for one slot at a time."""

    capacity: int
    minimum_fill: int
    dedupe: bool
    entries: dict = field(default_factory=dict)
    num_finished: int = 0
    replay_fraction: float = 0.0

    def replayable(self):
        return [s for s, e in self.entries.items() if e.num_updates is None]

    def write(self, levels, slots, scores, finished):
        """Write the scores of the finished lifetimes; slot -1 is new, -2 untracked."""
        self.num_finished += sum(finished)
        for slot, entry in self.entries.items():
            if entry.num_updates is not None and slots[entry.num_updates] != slot:
                entry.num_updates = None
        for n, slot in enumerate(slots):
            if finished[n] and slot >= 0:
                entry = self.entries[slot]
                assert entry.num_updates == n
                entry.num_updates, entry.last_seen = None, self.num_finished
                if math.isfinite(scores[n]):
                    entry.score = scores[n]
        new = [i for i in range(len(slots)) if finished[i] and slots[i] == -1 and math.isfinite(scores[i])]
        # by descending score, ties by index
        for n in sorted(self._merge(levels, scores, new), key=lambda i: -scores[i]):
            self._insert(levels[n], scores[n])

    def _merge(self, levels, scores, new):
        """Lifetimes with levels that are not in the buffer; of equal levels the last one."""
        if not self.dedupe:
            return new
        last = {levels[n]: n for n in new}
        for entry in self.entries.values():
            if entry.level in last:
                entry.score, entry.last_seen = scores[last.pop(entry.level)], self.num_finished
        return sorted(last.values())

    def _insert(self, level, score):
        free = [s for s in range(self.capacity) if s not in self.entries]
        if free:
            slot = free[0]
        else:
            slot = min(self.replayable(), key=lambda s: (self.entries[s].score, s), default=None)
            if slot is None or not score > self.entries[slot].score:
                return
        self.entries[slot] = Entry(level, score, self.num_finished)

    def assign(self, old, new, finished):
        """Check an assignment, given as `(level, slot)` of each lifetime, and apply it.

        Returns:
            The numbers of replays and of replayable slots.
        """
        replays = [i for i in range(len(old)) if finished[i] and new[i][1] >= 0]
        replayable = self.replayable()
        assert not replays or len(replayable) >= self.minimum_fill
        assert len({new[i][1] for i in replays}) == len(replays)
        for n, (level, slot) in enumerate(new):
            if not finished[n]:
                assert (level, slot) == old[n]
            elif n in replays:
                assert slot in replayable and self.entries[slot].level == level
                self.entries[slot].num_updates = n
            else:
                assert slot == -1
        if any(finished):
            self.replay_fraction = len(replays) / sum(finished)
        return len(replays), len(replayable)
