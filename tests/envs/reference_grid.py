"""A reference grid world in Python on rows and columns, driven by the same uniform numbers; it shares no code."""

import numpy as np

OFFSETS_5 = [(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)]
OFFSETS_9 = [(0, 0), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]


class ReferenceGrid:
    """Successive episodes on one level; `level` is a `GridLevel` of numpy arrays."""

    def __init__(self, level, height, width, offsets=OFFSETS_5, collect=False, moving=False):
        self.level, self.height, self.width = level, height, width
        self.offsets, self.collect, self.moving = offsets, collect, moving
        self.walls = {divmod(cell, width) for cell in range(height * width) if not level.free[cell]}
        self.objects = [i for i in range(len(level.present)) if level.present[i]]

    def reset(self, u):
        self.agent = divmod(int(self.level.start), self.width)
        self.time = 0
        self.existing = set(self.objects)
        self.cells = {i: divmod(int(self.level.object_cell[i]), self.width) for i in self.objects}
        if self.moving:
            self.place(u, self.objects, set())

    def place(self, u, respawned, kept):
        occupied = [self.agent] + [self.cells[i] for i in kept]
        for i in respawned:
            cells = [(r, c) for r in range(self.height) for c in range(self.width)]
            choice = [cell for cell in cells if cell not in self.walls and cell not in occupied]
            self.cells[i] = choice[min(int(np.float32(u[i]) * np.float32(len(choice))), len(choice) - 1)]
            occupied.append(self.cells[i])

    def observe(self):
        row, column = self.agent
        planes = np.zeros((self.height, self.width, len(self.level.present) + 1))
        planes[row, column, 0] = 1
        for i in self.existing:
            planes[(*self.cells[i], i + 1)] = 1
        index = row * self.width + column + self.height * self.width * sum(2**i for i in self.existing)
        return index, planes, self.time

    def step(self, action, u):
        num, level = len(level_objects(self.level)), self.level
        respawn, end, rest = u[:num], u[num], u[num + 1 :]
        reaching = self.collect and action >= len(self.offsets)
        down, right = self.offsets[action % len(self.offsets)]
        row, column = self.agent[0] + down, self.agent[1] + right
        inside = 0 <= row < self.height and 0 <= column < self.width and (row, column) not in self.walls
        if inside and not reaching:
            self.agent = (row, column)
        collect_cell = self.agent if not self.collect else (row, column) if reaching and inside else None
        hit = {i for i in self.existing if self.cells[i] == collect_cell}
        respawned = [i for i in self.objects if i not in self.existing and respawn[i] < level.p_respawn[i]]
        if self.moving:
            self.place(rest[:num], respawned, self.existing - hit)
        self.existing = (self.existing - hit) | set(respawned)
        self.time += 1
        reward = sum(float(level.reward[i]) for i in hit)
        terminated = bool(end < sum(float(level.p_terminate[i]) for i in hit))
        truncated = not terminated and self.time >= level.max_steps
        final = self.observe()
        if terminated or truncated:
            self.reset(rest[num:])
        return self.observe(), reward, terminated, truncated, final, hit, respawned


def level_objects(level):
    return list(level.present)
