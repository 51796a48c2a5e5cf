"""A scheduler whose decisions pile up, for tests that look at all of them in the end."""

from search.schedule.rules import cell_promote
from search.schedule.scheduler import Scheduler


class Logged:
    """`ask` returns the job alone; `decisions` are dicts, as the journal has them."""

    def __init__(self, cells, plan, sizes=(), rule=cell_promote):
        self._held = Scheduler(cells, plan, sizes, rule)
        self.decisions = []

    def ask(self):
        job, made = self._held.ask()
        self._take(made)
        return job

    def tell(self, *told, **more):
        self._take(self._held.tell(*told, **more))

    def retry(self):
        self._take(self._held.retry())

    def _take(self, made):
        self.decisions += [decision._asdict() for decision in made]

    def __getattr__(self, name):
        return getattr(self._held, name)
