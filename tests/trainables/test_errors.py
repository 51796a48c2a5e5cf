import errno
import os

import pytest

from trainables.errors import did_you_mean, nearest, reason


def test_why_a_file_cannot_be_read_names_it_not_again(tmp_path):
    with pytest.raises(OSError) as held:
        (tmp_path / "none.csv").read_text(encoding="utf-8")
    assert reason(held.value) == os.strerror(errno.ENOENT)
    assert reason(OSError("no number")) == "no number"
    assert reason(ValueError("row 3: not a number")) == "row 3: not a number"


def test_of_a_text_in_another_encoding_the_byte_is_told(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("größe".encode("latin-1"))
    with pytest.raises(UnicodeDecodeError) as held:
        path.read_text(encoding="utf-8")
    assert reason(held.value) == "it is no UTF-8 text (byte 3 is 0xf6)"


def test_the_nearest_name_is_the_one_that_is_known():
    assert nearest("DEPHT", ["lr", "Depth"]) == "Depth"
    assert nearest("batch", []) == nearest("xyz", ["depth"]) == ""
    assert did_you_mean("depht", ["depth"], "'") == "; did you mean 'depth'?"
    assert did_you_mean("xyz", ["depth"]) == ""
