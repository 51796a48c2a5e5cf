"""Own folders as users have them: what is refused, with file and fix, and what is taken."""

from __future__ import annotations

import shutil
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.tasks.test_imagefolder import config_of, picture, write
from trainables import find_task
from trainables.task import DataError, MissingDataError

CPU = torch.device("cpu")
TASK = find_task("imagefolder")


@pytest.fixture
def folder(tmp_path) -> Path:
    first = write(tmp_path, "train", {"ant": 12, "bee": 8})
    write(tmp_path, "test", {"ant": 6, "bee": 4}, first)
    return tmp_path


def found_of(folder: Path, **changed: object) -> dict[str, object]:
    return TASK.fingerprint(folder, config_of(classes=None, **changed))


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        found_of(folder)
    return str(caught.value)


def pixels_of(folder: Path, name: str, **changed: object) -> np.ndarray:
    """uint8 `(height, width, 3)` of an image as it is trained on."""
    data = TASK.open_data(folder, config_of(classes=2, val_fraction=0.1, **changed), 1, CPU)
    for split, names in data.names.items():
        if name in names:
            at = torch.tensor([names.index(name)])
            return data.take(split, at)[0].permute(1, 2, 0).numpy()
    raise AssertionError(f"{name} is in no split")


# ---- layout


def test_a_class_of_val_that_train_lacks_is_refused(folder):
    write(folder, "val", {"ant": 2, "bee": 2, "cat": 2}, 900)
    assert f"{folder / 'val' / 'cat'} is a class that train lacks" in refused(folder)


def test_an_empty_class_is_refused_in_every_split(folder):
    (folder / "train" / "cat").mkdir()
    (folder / "test" / "cat").mkdir()
    (folder / "test" / "cat" / ".DS_Store").write_bytes(b"x")
    said = refused(folder)
    assert f"{folder / 'train' / 'cat'} holds no image" in said
    assert f"{folder / 'test' / 'cat'} holds no image" in said


@pytest.mark.parametrize(
    "names",
    [("caf\u00e9", "cafe\u0301"), ("cat", "cat "), (" cat", "cat")],
    ids=["composed and not", "a space behind", "a space before"],
)
def test_classes_that_look_the_same_are_refused(names, folder):
    for name in names:
        write(folder, "train", {name: 2}, 300 + len(name))
    said = refused(folder)
    assert "differ in spaces or in how their letters are encoded alone" in said
    assert all(ascii(name) in said for name in names)


@pytest.mark.parametrize("other", ["Ant", "ant ", "ANT"])
def test_a_class_that_another_split_spells_otherwise_is_told_with_both_names(other, folder):
    (folder / "test" / "ant").rename(folder / "test" / other)
    said = refused(folder)
    assert f"is a class that train lacks (elsewhere it is 'ant', here {other!r}: rename" in said


def test_a_class_in_another_encoding_is_told_with_both_names(folder):
    name = "caf\u00e9"
    first = write(folder, "train", {name: 3}, 300)
    write(folder, "test", {unicodedata.normalize("NFD", name): 3}, first)
    said = refused(folder)
    assert "elsewhere it is 'caf\\xe9', here 'cafe\\u0301': rename one" in said


def test_classes_that_differ_in_case_alone_are_taken_and_told(folder):
    """Letters a and A may be meant."""
    for split in ("train", "test"):
        write(folder, split, {"Ant": 4}, {"train": 500, "test": 600}[split])
    found = found_of(folder)
    assert found["classes"] == ["Ant", "ant", "bee"]
    assert found["warnings"] == ["classes differ in case alone: Ant and ant"]


def test_a_split_under_another_name_is_told_not_passed_over(folder):
    (folder / "test").rename(folder / "Test")
    write(folder, "validation", {"ant": 2, "bee": 2}, 900)
    said = found_of(folder)["warnings"]
    for pair in ("'Test' to 'test'", "'validation' to 'val'"):
        assert f"a folder is not read; if it is that split, rename {pair}" in said
    (folder / "train").rename(folder / "training")
    with pytest.raises(MissingDataError, match="rename 'training' to 'train'"):
        found_of(folder)


def test_hidden_files_and_what_systems_leave_are_passed_over(folder):
    before = found_of(folder)
    for name in (".DS_Store", "Thumbs.db", "._0001.png", ".hidden.jpg"):
        (folder / "train" / "ant" / name).write_bytes(b"\0")
        (folder / "train" / name).write_bytes(b"\0")
    assert found_of(folder) == before


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("..", "loop.png (a link to a folder, which is not followed)"),
        (".", "loop.png (a link to a folder, which is not followed)"),
        ("loop.png", "loop.png (a link to nothing)"),
        ("gone", "loop.png (a link to nothing)"),
    ],
)
@pytest.mark.parametrize("below", ["train/ant", "train/ant/more"])
def test_a_ring_of_links_is_told_and_not_gone_round(to, said, below, folder):
    (folder / below).mkdir(exist_ok=True)
    (folder / below / "loop.png").symlink_to(to)
    assert said in refused(folder)


def test_a_class_folder_that_is_a_link_to_nothing_is_told(folder):
    (folder / "train" / "cat").symlink_to("gone")
    assert "a file outside its class folders: cat (a link to nothing)" in refused(folder)


def test_a_class_folder_may_be_a_link_to_a_folder(folder, tmp_path_factory):
    whole = found_of(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x"
    shutil.move(folder / "train" / "ant", elsewhere)
    (folder / "train" / "ant").symlink_to(elsewhere)
    assert found_of(folder) == whole


# ---- one file


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "x.jpg"), ("PNG", "x.png")])
def test_a_cut_image_is_refused_by_name(kind, name, folder):
    path = folder / "train" / "ant" / name
    picture(77, 64, 64).save(path, kind)
    path.write_bytes(path.read_bytes()[:-500])
    said = refused(folder)
    assert f"{path}: it is cut off: a {kind} without its end" in said
    assert "1 file cannot be decoded; mend or remove it" in said


def test_a_text_under_an_image_s_name_is_refused(folder):
    (folder / "train" / "ant" / "x.jpg").write_text("a list of files\n")
    assert f"{folder / 'train' / 'ant' / 'x.jpg'}: it is a text" in refused(folder)


def test_an_animated_gif_is_refused_under_either_name(folder):
    pages = [Image.new("RGB", (32, 32), (60 * n, 0, 0)) for n in range(3)]
    for name in ("a.gif", "b.png"):
        pages[0].save(
            folder / "train" / "ant" / name, "GIF", save_all=True, append_images=pages[1:]
        )
    assert "a.gif (a kind that is not read: convert it" in refused(folder)
    (folder / "train" / "ant" / "a.gif").unlink()
    assert "b.png: ValueError: 3 pictures in one file; keep one" in refused(folder)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_a_png_of_16_bits_is_refused_whatever_its_colours(colour, folder):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 32, 32, 16, colour, 0, 0, 0)
    rows = (b"\0" + b"\1\44" * channels * 32) * 32
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    (folder / "train" / "ant" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert "x.png: ValueError: more than 8 bits a channel" in refused(folder)


def smooth() -> Image.Image:
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    return Image.fromarray(
        np.stack([np.tile(ramp, (32, 1)), np.tile(ramp[:, None], 32)] * 2, -1)[..., :3]
    )


def test_a_cmyk_jpeg_is_read_as_the_colours_that_it_shows(folder):
    smooth().convert("CMYK").save(folder / "train" / "ant" / "x.jpg", quality=100)
    found = found_of(folder)
    assert found["warnings"] == []
    off = pixels_of(folder, "train/ant/x.jpg").astype(int) - np.asarray(smooth())
    assert np.abs(off).mean() < 4


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGBA", "1"])
def test_opaque_images_of_any_mode_are_read_as_they_look(mode, folder):
    grey = np.kron(np.eye(2), np.full((16, 16), 255)).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").convert(mode).save(folder / "train" / "ant" / "x.png")
    assert found_of(folder)["warnings"] == []
    assert np.array_equal(pixels_of(folder, "train/ant/x.png"), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA"])
def test_what_transparency_hides_is_read_and_told(mode, folder):
    held = picture(5).convert("L").convert(mode if mode != "P" else "RGB")
    shown = np.asarray(picture(5).convert("L"))
    if mode == "P":
        held = Image.fromarray(shown).convert("P")
        held.info["transparency"] = bytes([0] * 128 + [255] * 128)
    else:
        held.putalpha(0)
    held.save(folder / "train" / "ant" / "x.png")
    found = found_of(folder)
    assert found["warnings"] == [
        "1 of 21 train images is transparent in part: that is dropped, and what it hid is seen "
        "(ant/x.png)"
    ]
    assert np.array_equal(pixels_of(folder, "train/ant/x.png"), np.stack([shown] * 3, -1))


def test_images_of_a_pixel_are_enlarged_and_told(folder):
    for number in (1, 2):
        Image.new("RGB", (1, 1), (number, 2, 3)).save(
            folder / "train" / "ant" / f"dot{number}.png"
        )
    said = "2 of 22 train images are less than 8 px high or wide, and enlarged (ant/dot1.png, "
    assert found_of(folder)["warnings"][0].startswith(said)
    assert (pixels_of(folder, "train/ant/dot1.png") == (1, 2, 3)).all()


def test_a_strip_that_would_fill_the_memory_is_refused(folder):
    """Its shorter side made 224 px, it would be 30 GB."""
    Image.new("RGB", (1, 60_000)).save(folder / "train" / "ant" / "x.png")
    said = refused(folder)
    assert "x.png: ValueError: 60000 px by 1: more than 100 times as long as wide" in said


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_image_in_two_classes_is_told_by_both_names(split, folder):
    source = folder / "train" / "ant" / "0002.png"
    shutil.copy(source, folder / split / "bee" / "x.png")
    text = "1 image lies in more than one class, so that its label is not known; each is kept"
    warnings = found_of(folder, copies="keep")["warnings"]
    assert any(said.startswith(text) for said in warnings)
    assert any(said.endswith(f": {split} bee/x.png is train ant/0002.png") for said in warnings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dog", "dogs"),
        ("Dogs", "dog"),
        ("hot dog", "hot_dogs"),
        ("box", "boxes"),
        ("house", "houses"),
        ("finch", "Finches"),
        ("cherry", "cherries"),
        ("fire-truck", "firetruck"),
    ],
)
def test_classes_that_are_called_nearly_alike_are_told(one, other, folder):
    for name, first in ((one, 500), (other, 700)):
        write(folder, "train", {name: 3}, first)
        write(folder, "test", {name: 3}, first + 100)
    (said,) = found_of(folder)["warnings"]
    pair = " and ".join(sorted((one, other)))
    assert said == f"classes are called nearly alike, as one class twice: {pair}"


@pytest.mark.parametrize(
    ("one", "other"), [("glass", "grass"), ("1", "-1"), ("1_0", "10"), ("a", "as"), ("b-", "b")]
)
def test_classes_of_names_of_their_own_are_not_told(one, other, folder):
    for name, first in ((one, 500), (other, 700)):
        write(folder, "train", {name: 3}, first)
        write(folder, "test", {name: 3}, first + 100)
    assert found_of(folder)["warnings"] == []


def test_a_class_that_test_calls_in_the_plural_is_refused_with_both_names(folder):
    (folder / "test" / "bee").rename(folder / "test" / "Bees")
    assert "lacks the class bee (elsewhere it is 'Bees', here 'bee': rename one)" in refused(
        folder
    )
