from envs.gridworld.grid import GridState, GridWorld
from envs.gridworld.level import GridLevel
from envs.gridworld.levels import All
from envs.gridworld.moves import FOUR_MOVES, FOUR_MOVES_COLLECT, NINE_MOVES, NINE_MOVES_COLLECT, Moves
from envs.gridworld.placement import FixedPlacement, RandomPlacement
from envs.gridworld.views import PlaneView, TabularView
