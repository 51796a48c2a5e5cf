from tests.search.conftest import make_study  # noqa: F401 - a fixture
from tests.trainables.conftest import (  # noqa: F401 - fixtures
    complete,
    write_annotation,
    write_crowd,
    write_parquet,
)
