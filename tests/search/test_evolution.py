"""Regularised evolution, its baselines, the fitness cache, resumption and the funnel."""

import dataclasses
import json

import numpy as np
import pytest

from lopt.search import (
    Mutation,
    canonical_hash,
    fingerprint,
    mutate_constant,
    parse,
    prune_loop,
    published,
    random_program,
)
from lopt.search.evolution import FitnessCache, Individual, RandomSearch, Search, Stage, Tournament, funnel
from lopt.search.evolution.individual import individuals_from_json, individuals_to_json

ADAMW = parse(published.ADAMW)


def short(programs):
    """A fitness that is high for few statements and large constants."""
    values = []
    for program in programs:
        numbers = [arg for s in program.statements for arg in s.args if not isinstance(arg, str)]
        values.append(sum(np.arctan(x) for x in numbers) - len(program.statements) if numbers else -np.inf)
    return np.array(values)


def make(propose=None, **options):
    sizes = {"size": 12, "batch": 4, "max_batches": 3} | options
    return Search(
        propose or Tournament(Mutation(longest=20)), ADAMW, FitnessCache(canonical_hash, fingerprint), **sizes
    )


def steps(search, number, fitness=short, state=None):
    """The state after some steps, and their metrics."""
    state, history = state or search.init(0), []
    for _ in range(number):
        state, metrics = search.step(state, fitness)
        history.append(metrics)
    return state, history


def test_evolution_improves_and_never_evaluates_a_program_twice():
    evaluated = []

    def fitness(programs):
        evaluated.extend(canonical_hash(p) for p in programs)
        return short(programs)

    state, metrics = steps(make(), 30, fitness)
    assert len(evaluated) == len(set(evaluated)) == state.evaluated == metrics[-1]["evaluated"]
    best = [x["best"] for x in metrics]
    assert best == sorted(best) and best[-1] > best[0] > -np.inf
    assert state.best.fitness == short([prune_loop(state.best.program)])[0]
    counts = state.cache.counts
    assert sum(counts.values()) == state.proposed + 1 and counts["structural_hits"] > 0
    assert len(state.population) == 12


def test_the_oldest_individuals_are_removed_regardless_of_fitness():
    search = make(size=5)
    state, _ = steps(search, 1)
    indices = [one.index for one in state.population]
    assert indices == sorted(indices) and indices[-1] == state.proposed - 1
    state, _ = steps(search, 2, lambda programs: np.full(len(programs), -100.0), state)
    assert state.best not in state.population


def test_a_resumed_search_continues_bit_for_bit():
    search = make()
    whole, _ = steps(search, 6)
    first, _ = steps(search, 3)
    text = json.dumps(first.to_json(), allow_nan=False)
    resumed, metrics = steps(make(), 3, state=make().from_json(json.loads(text)))
    assert resumed.to_json() == whole.to_json()
    assert metrics[-1]["evaluated"] == whole.evaluated
    assert [one.program for one in resumed.best.lineage()] == [one.program for one in whole.best.lineage()]


def test_ask_and_tell_leave_their_state_as_it_is_and_repeat():
    search = make()
    state, _ = steps(search, 2)
    before = json.dumps(state.to_json())
    asked, batch = search.ask(state)
    after, metrics = search.tell(asked, batch, short(batch.programs))
    assert json.dumps(state.to_json()) == before
    again, same = search.ask(state)
    assert same == batch and again.to_json() == asked.to_json()
    assert search.tell(again, same, short(same.programs))[1] == metrics
    stepped, _ = search.step(state, short)
    assert stepped.to_json() == after.to_json()
    with pytest.raises(ValueError, match="expected 4 values of fitness .got 3"):
        search.tell(asked, batch, [0.0] * 3)


def test_the_first_batch_is_the_initial_program():
    search = make()
    state, batch = search.ask(search.init(0))
    assert batch.programs == (prune_loop(ADAMW),) and len(batch.candidates) == 1
    state, _ = search.tell(state, batch, [0.5])
    assert [one.program for one in state.population] == [ADAMW] * 12 and state.best.fitness == 0.5


def test_a_candidate_is_pruned_once():
    prune_loop.cache_clear()
    state, _ = steps(make(), 5)
    distinct = state.proposed + 1  # and their live parts, if something prunes these again
    assert prune_loop.cache_info().misses <= 2 * distinct
    assert prune_loop.cache_info().hits >= 2 * distinct


def test_restarts_alternate_between_the_initial_and_the_best_program():
    _, metrics = steps(make(plateau=3), 4, lambda programs: np.zeros(len(programs)))
    assert metrics[-1]["restarts"] >= 2
    search = make(plateau=1000)
    state, _ = steps(search, 1)
    assert search.restart_individual(state).program == ADAMW
    assert search.restart_individual(dataclasses.replace(state, restarts=1)) is state.best


def test_a_tournament_selects_the_fittest_and_of_equals_the_youngest():
    population = [Individual(ADAMW, x, index=i) for i, x in enumerate([0.0, 3.0, 3.0, -np.inf])]
    select, rng = Tournament(lambda rng, program: program, size=64), np.random.default_rng(0)
    assert select(rng, population)[1] is population[2]
    selected = {Tournament(lambda rng, program: program, size=1)(rng, population)[1].index for _ in range(100)}
    assert selected == {0, 1, 2, 3}


def test_constant_search_keeps_the_structure_and_random_search_has_no_parents():
    state, _ = steps(make(Tournament(mutate_constant)), 1)
    assert {tuple(s.function for s in one.program.statements) for one in state.population} == {
        tuple(s.function for s in ADAMW.statements)
    }
    draw = RandomSearch(draw=lambda rng, length: random_program(rng, length), shortest=2, longest=5)
    state, _ = steps(make(draw), 1)
    drawn = [one for one in state.population if one.program != ADAMW]
    assert drawn and all(one.parent is None and 2 <= len(one.program.statements) <= 5 for one in drawn)


def test_the_cache_finds_programs_by_structure_and_by_behaviour():
    cache = FitnessCache(canonical_hash, fingerprint)
    one, same_structure, same_behaviour = (
        parse(f"def train(w, g, lr):\n    {body}\n    return u\n")
        for body in ("u = g * 2.0", "u = 2.0 * g", "u = g + g")
    )
    keys = []
    for program in (one, same_structure, same_behaviour):
        keys.append(cache.key(program))
        cache.fitness.setdefault(keys[-1], 1.5)
    assert len(set(keys)) == 1
    assert cache.counts == {"structural_hits": 1, "behavioural_hits": 1, "misses": 1}
    assert cache.hit_rates() == {"structural_hits": 1 / 3, "behavioural_hits": 1 / 3}


def test_lineages_are_restored_from_json():
    first = Individual(ADAMW, -np.inf)
    second = Individual(parse(published.LION), 1.0, first, 3)
    third = Individual(ADAMW, 2.0, second, 4)
    one, other = individuals_from_json(json.loads(json.dumps(individuals_to_json([third, second]))))
    assert one.parent is other and other.parent.parent is None and other.parent.fitness == -np.inf
    assert [x.index for x in one.lineage()] == [0, 3, 4] and one.program == ADAMW


def test_a_funnel_promotes_programs_that_beat_the_baseline():
    programs = [parse(published.LION), ADAMW, parse(published.ADAGRAD_LIKE)]
    by_length = Stage(lambda programs: np.array([-len(p.statements) for p in programs]), ADAMW)
    equal = Stage(lambda programs: np.zeros(len(programs)), ADAMW)
    results = funnel(programs, [by_length, equal, by_length])
    assert [list(result) for result in results] == [[2, 0, 1], [2, 0], []]
    only_one = Stage(by_length.fitness, ADAMW, max_promoted=1)
    assert [list(result) for result in funnel(programs, [only_one, equal])] == [[2, 0, 1], [2]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make(size=0), "size must be at least 1"),
        (lambda: make(plateau=-1), "plateau must be at least 1"),
        (lambda: Tournament(mutate_constant, 0), "size must be at least 1"),
        (lambda: RandomSearch(draw=random_program, shortest=3, longest=2), "1 <= shortest <= longest"),
    ],
)
def test_invalid_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
