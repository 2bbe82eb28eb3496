"""The grid worlds of LPG and GROOVE: the environment, level distributions, exact returns and plots.

The hand-designed sets of LPG are in `envs.gridworld.sets`, hand-drawn mazes in `envs.gridworld.drawings`.
"""

from envs.gridworld.grid import GridState, GridWorld
from envs.gridworld.kruskal import KruskalMaze
from envs.gridworld.level import GridLevel, make_level, scatter_objects
from envs.gridworld.levels import All, debug, large, medium, rand_all, small
from envs.gridworld.maps import open_map, parse_map
from envs.gridworld.mazes import DrawnMaze, Mazes
from envs.gridworld.moves import FOUR_MOVES, FOUR_MOVES_COLLECT, NINE_MOVES, NINE_MOVES_COLLECT, Moves
from envs.gridworld.objects import pack, unpack
from envs.gridworld.optimal import optimal_return, optimal_values, policy_return, random_return
from envs.gridworld.padding import Padded, pad_level
from envs.gridworld.placement import FixedPlacement, RandomPlacement
from envs.gridworld.render import draw_path, draw_policy, draw_visits, render, render_grid
from envs.gridworld.sets import RANDOM_SETS, TABULAR_SETS, GridSet
from envs.gridworld.views import PlaneView, TabularView

__all__ = [
    "FOUR_MOVES",
    "FOUR_MOVES_COLLECT",
    "NINE_MOVES",
    "NINE_MOVES_COLLECT",
    "RANDOM_SETS",
    "TABULAR_SETS",
    "All",
    "DrawnMaze",
    "FixedPlacement",
    "GridLevel",
    "GridSet",
    "GridState",
    "GridWorld",
    "KruskalMaze",
    "Mazes",
    "Moves",
    "Padded",
    "PlaneView",
    "RandomPlacement",
    "TabularView",
    "debug",
    "draw_path",
    "draw_policy",
    "draw_visits",
    "large",
    "make_level",
    "medium",
    "open_map",
    "optimal_return",
    "optimal_values",
    "pack",
    "pad_level",
    "parse_map",
    "policy_return",
    "rand_all",
    "random_return",
    "render",
    "render_grid",
    "scatter_objects",
    "small",
    "unpack",
]
