"""All threads together hold no more than the budget, and everyone gets what there is for one."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmstream.runtime.budget import DECODING, Budget, OverBudgetError

MIB = 1 << 20


def test_threads_never_hold_more_than_the_budget_together_and_all_are_served():
    budget, most, lock = Budget(100), [0], threading.Lock()

    def use(needed: int) -> int:
        with budget.holding(needed):
            with lock:
                most[0] = max(most[0], budget.held)
            return needed

    asked = [(number * 37) % 101 for number in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, asked)) == asked
    assert 0 < most[0] <= 100
    assert budget.held == 0


def test_who_needs_more_than_there_is_is_told_the_limit_and_the_need():
    with (
        pytest.raises(OverBudgetError, match=r"needs about 2\.00 GiB of memory, more than the 1\.00 GiB"),
        Budget(1024 * MIB).holding(2048 * MIB),
    ):
        pass
    assert Budget(10).held == 0


def test_what_is_held_is_given_back_when_the_block_fails():
    budget = Budget(10)
    with pytest.raises(KeyError), budget.holding(10):
        raise KeyError
    with budget.holding(10):
        assert budget.held == 10


def test_whoever_needs_much_is_not_passed_by_for_ever_by_those_who_need_little():
    """The first holds a little; the second waits for all of it; the third, who would fit, comes after the second."""
    budget, order = Budget(10), []
    first_holds, first_ends = threading.Event(), threading.Event()

    def first() -> None:
        with budget.holding(1):
            first_holds.set()
            first_ends.wait(60)

    def other(needed: int) -> None:
        with budget.holding(needed):
            order.append(needed)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert first_holds.wait(60)
    for needed, waiting in ((10, 1), (2, 2)):
        threads.append(threading.Thread(target=other, args=(needed,)))
        threads[-1].start()
        while len(budget._waiting) < waiting:
            os.sched_yield()
    assert order == []
    first_ends.set()
    for thread in threads:
        thread.join(60)
    assert order == [10, 2]


def test_who_is_interrupted_while_waiting_leaves_the_queue(monkeypatch):
    budget = Budget(10)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmstream.runtime.budget._ASK_SECONDS", 0.001)
    with budget.holding(10):
        monkeypatch.setattr("mmstream.runtime.alive.progress", interrupt)
        with pytest.raises(KeyboardInterrupt), budget.holding(5):
            pass
        assert budget.held == 10
    with budget.holding(10):
        assert budget.held == 10


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_begins_with_the_whole_budget():
    budget = Budget(10)
    with budget.holding(10):
        child = os.fork()
        if not child:
            os._exit(0 if budget.held == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert budget.held == 10


def test_what_decodes_media_shares_one_gibibyte():
    assert DECODING.total == 1 << 30
