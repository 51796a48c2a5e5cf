"""A study that has run to its end, for tests of what is read of it."""

import pytest

from tests.search.conftest import drive


@pytest.fixture
def finished(make_study):
    """Its run folder, with its frames."""
    study = make_study()
    drive(study)
    study.close()
    return study.folder
