"""Which signals ask a run to stop, and what comes of each."""

import os
import signal

import pytest

from search.run.signals import STOPS, handled, interrupt


@pytest.mark.parametrize("number", STOPS)
def test_each_signal_that_asks_to_stop_does_and_leaves_its_handler_as_it_was(number):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        name = signal.Signals(number).name
        with pytest.raises(KeyboardInterrupt, match=name), handled(interrupt):
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 1)  # it arrives here at the latest
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", STOPS)
def test_one_that_is_ignored_stays_so(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with handled(interrupt):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)


def test_they_are_those_of_terminals_and_batch_systems():
    names = {signal.Signals(number).name for number in STOPS}
    assert names == {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"}
