"""Ageing evolution, what it remembers, and that it goes on bit for bit."""

import json

import numpy as np
import pytest

from lopt.search import Mutation, canonical_hash, fingerprint, parse, prune_loop, published, random_program, tune
from lopt.search.evolution import Chance, Individual, Level, Memory, Search, Tournament, funnel
from lopt.search.evolution.individual import from_plain, to_plain

ADAMW = parse(published.ADAMW)


def short(programs):
    """A fitness that wants few statements and large constants."""
    values = []
    for program in programs:
        numbers = [arg for s in program.statements for arg in s.args if not isinstance(arg, str)]
        values.append(sum(np.arctan(x) for x in numbers) - len(program.statements) if numbers else -np.inf)
    return np.array(values)


def make(propose=None, **options):
    sizes = {"size": 12, "batch": 4, "most": 3} | options
    rng = np.random.default_rng(0)
    return Search(propose or Tournament(Mutation(longest=20)), ADAMW, Memory(canonical_hash, fingerprint), rng, **sizes)


def test_evolution_climbs_and_never_tries_a_program_twice():
    seen = []

    def fitness(programs):
        seen.extend(canonical_hash(p) for p in programs)
        return short(programs)

    search = make()
    told = [search.cycle(fitness) for _ in range(30)]
    assert len(seen) == len(set(seen)) == search.tried == told[-1]["tried"]
    best = [x["best"] for x in told]
    assert best == sorted(best) and best[-1] > best[0] > -np.inf
    assert search.best.fitness == short([prune_loop(search.best.program)])[0]
    hits = search.memory.hits
    assert sum(hits.values()) == search.proposed + 1 and hits["structure"] > 0
    assert len(search.population) == 12


def test_the_oldest_die_whatever_they_are_worth():
    search = make(size=5)
    search.cycle(short)
    births = [one.born for one in search.population]
    assert births == sorted(births) and births[-1] == search.proposed - 1
    for _ in range(2):
        search.cycle(lambda programs: np.full(len(programs), -100.0))
    assert search.best not in search.population


def test_goes_on_bit_for_bit():
    whole, parts = make(), make()
    for _ in range(6):
        whole.cycle(short)
    for _ in range(3):
        parts.cycle(short)
    text = json.dumps(parts.plain(), allow_nan=False)
    again = make()
    again.restore(json.loads(text))
    told = [again.cycle(short) for _ in range(3)]
    assert again.plain() == whole.plain()
    assert told[-1]["tried"] == whole.tried
    assert [one.program for one in again.best.lineage()] == [one.program for one in whole.best.lineage()]


def test_restarts_from_the_initial_program_and_from_the_best_in_turn():
    search = make(plateau=3)
    flat = [search.cycle(lambda programs: np.zeros(len(programs)))["restarts"] for _ in range(4)]
    assert flat[-1] >= 2
    search = make(plateau=1000)
    search.cycle(short)
    assert search.population_of_restart().program == ADAMW
    search.restarts = 1
    assert search.population_of_restart() is search.best


def test_a_tournament_takes_the_fitter_and_the_later_of_equals():
    population = [Individual(ADAMW, x, born=i) for i, x in enumerate([0.0, 3.0, 3.0, -np.inf])]
    choose, rng = Tournament(lambda rng, program: program, size=64), np.random.default_rng(0)
    assert choose(rng, population)[1] is population[2]
    ones = {Tournament(lambda rng, program: program, size=1)(rng, population)[1].born for _ in range(100)}
    assert ones == {0, 1, 2, 3}


def test_baselines_propose_what_they_should():
    constants = make(Tournament(tune))
    constants.cycle(short)
    assert {tuple(s.function for s in one.program.statements) for one in constants.population} == {
        tuple(s.function for s in ADAMW.statements)
    }
    chance = make(Chance(lambda rng, length: random_program(rng, length), 2, 5))
    chance.cycle(short)
    newcomers = [one for one in chance.population if one.program != ADAMW]
    assert newcomers and all(one.parent is None and 2 <= len(one.program.statements) <= 5 for one in newcomers)


def test_memory_knows_programs_by_structure_and_by_behaviour():
    memory = Memory(canonical_hash, fingerprint)
    one, other, same = (
        parse(f"def train(w, g, lr):\n    {body}\n    return u\n")
        for body in ("u = g * 2.0", "u = 2.0 * g", "u = g + g")
    )
    names = []
    for program in (one, other, same):
        names.append(memory.name(program))
        memory.fitness.setdefault(names[-1], 1.5)
    assert len(set(names)) == 1
    assert memory.hits == {"structure": 1, "behaviour": 1, "neither": 1}


def test_lineages_survive_as_data():
    first = Individual(ADAMW, -np.inf)
    second = Individual(parse(published.LION), 1.0, first, 3)
    third = Individual(ADAMW, 2.0, second, 4)
    one, other = from_plain(json.loads(json.dumps(to_plain([third, second]))))
    assert one.parent is other and other.parent.parent is None and other.parent.fitness == -np.inf
    assert [x.born for x in one.lineage()] == [0, 3, 4] and one.program == ADAMW


def test_a_funnel_lets_through_who_beats_the_baseline():
    programs = [parse(published.LION), ADAMW, parse(published.ADAGRAD_LIKE)]
    lengths = Level(lambda them: np.array([-len(p.statements) for p in them]), ADAMW)
    never = Level(lambda them: np.zeros(len(them)), ADAMW)
    stages = funnel(programs, [lengths, never, lengths])
    assert [list(stage) for stage in stages] == [[2, 0, 1], [2, 0], []]
    few = Level(lengths.fitness, ADAMW, most=1)
    assert [list(stage) for stage in funnel(programs, [few, never])] == [[2, 0, 1], [2]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make(size=0), "size must be at least 1"),
        (lambda: make(plateau=-1), "plateau must be at least 1"),
        (lambda: Tournament(tune, 0), "size must be at least 1"),
        (lambda: Chance(random_program, 3, 2), "1 <= shortest <= longest"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
