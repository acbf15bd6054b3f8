"""Photos as people have them, decoded: odd and broken files, one and many."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile, ImageOps, PngImagePlugin

from prunebench.errors import PrunebenchError
from prunebench.system import cores
from prunebench_plugins.datasets.io import decoders, decoding, decoding_bar, squares
from prunebench_plugins.datasets.io.copies import Tree, zip_tree
from prunebench_plugins.datasets.io.decoding import Undecoded, check_apart, decoded
from tests.plugins.albums import numbers, written

RNG = np.random.default_rng(0)
NOISE = RNG.integers(256, size=(20, 30, 3), dtype=np.uint8)
WAVES = (127 + 120 * np.sin(np.mgrid[0:300, 0:400].sum(0) / 17))[..., None] * [1, 0.8, 0.5]


def filled(content: bytes, name="a.png", side=8):
    square = np.empty((3, side, side), np.uint8)
    with decoders.decoders():
        return square, squares.fill(square, content, name)


def expected(image: Image.Image, side=8) -> list:
    """The square, step by step, as folders had it before there was a cache."""
    return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BILINEAR)).tolist()


def shown(square) -> list:
    return square.transpose(1, 2, 0).tolist()


# One file


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_photo_becomes_the_square_it_always_was(kind) -> None:
    square, odd = filled(written(NOISE, kind), "a")
    assert (shown(square), odd) == (expected(Image.fromarray(NOISE)), "")


@pytest.mark.parametrize(
    ("kind", "name"), [("AVIF", "a.avif"), ("HEIF", "a.heic"), ("JPEG", "a.jfif"), ("JPEG2000", "a.jp2")]
)
def test_photos_of_phones_and_of_archives_are_read(kind, name) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    image = Image.fromarray(WAVES.astype(np.uint8))
    square, odd = filled(written(image, kind), name, 20)
    assert odd == ""
    assert np.abs(np.array(shown(square)) - expected(image, 20)).mean() < 4  # none of them is lossless


def test_a_photo_in_rgb_is_in_memory_once() -> None:
    image = Image.fromarray(NOISE)
    assert squares._rgb(image)[0] is image


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_fewer_colors_are_nothing_odd(mode) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    assert (shown(filled(written(image))[0]), filled(written(image))[1]) == (expected(image), "")


def test_a_small_jpeg_is_decoded_in_full() -> None:
    content = written(NOISE, "JPEG")
    square, odd = filled(content, "a.jpg", side=16)
    assert (shown(square), odd) == (expected(Image.open(io.BytesIO(content)), 16), "")


def test_a_large_jpeg_is_decoded_coarsely_and_hardly_differs(monkeypatch) -> None:
    content, sizes = written(WAVES.astype(np.uint8), "JPEG", quality=95), []
    real = squares._rgb
    monkeypatch.setattr(squares, "_rgb", lambda image: sizes.append(image.size) or real(image))
    for side, size in ((64, (200, 150)), (18, (50, 38)), (100, (400, 300))):
        square, _ = filled(content, "a.jpg", side)
        difference = np.abs(np.array(shown(square)) - expected(Image.open(io.BytesIO(content)), side))
        assert (sizes.pop(), difference.mean() < 1.5) == (size, True)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_camera_says(kind, orientation) -> None:
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    exif = Image.Exif()
    exif[squares.ORIENTATION] = orientation
    image = Image.fromarray(WAVES.astype(np.uint8)).resize((40, 30))
    content = written(image, kind, exif=exif, **lossless)
    upright = expected(ImageOps.exif_transpose(Image.open(io.BytesIO(content))), 20)
    difference = np.abs(np.array(shown(filled(content, "a", 20)[0])) - upright)
    assert difference.max() <= 2  # rows and columns are averaged in another order


def test_a_photo_with_broken_tags_is_a_photo() -> None:
    content = written(NOISE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert filled(content, "a.jpg")[1] == ""


def test_sixteen_bits_of_gray_become_eight() -> None:
    values = np.array([[0, 128], [256, 0x7FFF], [0x8000, 0xFFFF]], np.uint16).repeat(9, 0).repeat(9, 1)
    content = written(values)
    assert Image.open(io.BytesIO(content)).mode.startswith("I")
    square, odd = filled(content, side=18)
    image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    assert (shown(square), odd) == (expected(image, 18), "16-bit gray")


def test_ink_becomes_light() -> None:
    for kind in ("JPEG", "TIFF"):
        cyan = Image.new("CMYK", (9, 9), (255, 0, 0, 0))
        square, odd = filled(written(cyan, kind), "a")
        assert odd == "colors in CMYK"
        assert np.abs(square[:, 4, 4].astype(int) - [0, 255, 255]).max() < 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode) -> None:
    """A black image of which the left half is transparent."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    square, odd = filled(written(image.convert(mode)))
    assert (square[:, :, :4].min(), square[:, :, 4:].max()) == (255, 0)
    assert odd == f"transparent{' palette' if mode == 'P' else ''}, laid on white"
    opaque = Image.fromarray(NOISE).convert("RGBA")
    assert filled(written(opaque))[1] == ""
    assert shown(filled(written(opaque))[0]) == expected(opaque)


def test_a_wrong_ending_is_odd_and_read() -> None:
    for name, odd in (("a.JPG", "PNG in spite of its name"), ("a.PNG", ""), ("a", ""), ("a.b/c", "")):
        assert filled(written(NOISE), name)[1] == odd
    two = written(NOISE, "MPO", save_all=True, append_images=[Image.fromarray(NOISE)])
    assert Image.open(io.BytesIO(two)).format == "MPO"
    assert filled(two, "a.jpg")[1] == ""


def test_of_several_frames_the_first_counts() -> None:
    frames = [Image.new("L", (9, 9), 200), Image.new("L", (9, 9), 3)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        content = written(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(filled(content, "a")[0].astype(int) - 200).max() < 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "^empty$"),
        (b"<!DOCTYPE html><html>", r"^no image, it begins with b'<!DOCTYPE ht'$"),
        (written(NOISE, "JPEG")[:-200], "truncated"),
        (written(NOISE)[:-200], "truncated"),
        (written(NOISE)[:40] + bytes(80) + written(NOISE)[120:], "."),
        (written(np.zeros((4, 4), np.float32), "TIFF"), "values without a range"),
        (written(np.full((4, 4), 70_000, np.int32), "TIFF"), "outside 16 bits"),
        (written(NOISE, "ICO"), "no image"),  # a kind that is not asked for
    ],
)
def test_what_is_no_photo_is_refused_with_a_reason(content, reason) -> None:
    with pytest.raises(squares.BadPhotoError, match=reason):
        filled(content)


def test_a_decompression_bomb_is_refused_and_a_large_photo_is_not(monkeypatch) -> None:
    monkeypatch.setattr(decoders, "LARGEST", 400)  # 600 earn a warning, 800 would an error
    filled(written(NOISE))
    monkeypatch.setattr(decoders, "LARGEST", 299)
    with pytest.raises(squares.BadPhotoError, match="decompression bomb"):
        filled(written(NOISE))


# What decoding rests on

CUT = written(WAVES.astype(np.uint8), "JPEG", quality=95)[:-3000]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (ImageFile, "LOAD_TRUNCATED_IMAGES", True),
        (Image, "MAX_IMAGE_PIXELS", None),
        (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS),
        (PngImagePlugin, "MAX_TEXT_CHUNK", 1),
    ],
)
def test_what_a_script_set_changes_nothing_and_is_left_as_it_was(monkeypatch, module, name, value) -> None:
    usual = getattr(module, name)
    monkeypatch.setattr(module, name, value)
    with decoders.decoders():
        assert getattr(module, name) == usual
    assert getattr(module, name) == value


def test_a_file_that_is_cut_short_is_bad_whoever_asks(album, monkeypatch) -> None:
    album.add(3)
    (album.place / "001.png").write_bytes(CUT)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(PrunebenchError, match=r"1 of the 3 images .* cannot be read: 001.png \(.*truncated"):
        album.decoded()
    assert album.decoded(on_bad="skip").kept.tolist() == [0, 2]  # nothing half gray was kept
    with pytest.raises(PrunebenchError, match=r"could be read before, and now cannot: .*truncated"):
        Undecoded(album.tree, ("001.png",), 8)[:]
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_bomb_is_refused_and_a_warning_no_error_whatever_was_set(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(decoders, "LARGEST", 299)
    with pytest.raises(squares.BadPhotoError, match="decompression bomb"):
        filled(written(NOISE))
    monkeypatch.setattr(decoders, "LARGEST", 400)
    with warnings.catch_warnings(action="error"):
        filled(written(NOISE))
        with pytest.raises(UserWarning, match="as before"):
            warnings.warn("as before", stacklevel=1)


def test_a_setting_is_put_back_when_the_last_of_several_threads_is_done(monkeypatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with ExitStack() as first, ExitStack() as second:
        for stack in (first, second):
            stack.enter_context(decoders.decoders())
        first.close()
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
        second.close()
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_broken_tiff_prints_nothing_past_python(capfd) -> None:
    content = bytearray(written(NOISE, "TIFF", compression="tiff_lzw"))
    content[40:200] = bytes(range(160))
    with pytest.raises(squares.BadPhotoError):
        filled(bytes(content))
    assert capfd.readouterr() == ("", "")


def test_large_photos_are_decoded_one_after_the_other(monkeypatch) -> None:
    """Thirty-two threads, a hundred pixels at once: two photos of 49, or one of any size."""
    room, inside, most = decoders.Room(100), [], []

    def work(pixels):
        with room.taken(pixels):
            inside.append(pixels)
            most.append(sum(inside))
            time.sleep(0.001)
            inside.remove(pixels)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, [49] * 40 + [1000] * 3 + [49] * 20))
    assert {98, 1000} <= set(most) <= {49, 98, 1000}
    assert room.left == 100


def test_a_photo_takes_the_room_of_what_is_decoded(monkeypatch) -> None:
    taken = []
    room = decoders.Room(1)
    monkeypatch.setattr(room, "taken", lambda pixels: taken.append(pixels) or nullcontext())
    monkeypatch.setattr(squares, "ROOM", room)
    filled(written(NOISE))
    filled(written(WAVES.astype(np.uint8), "JPEG"))  # at an eighth of its 300 x 400 pixels
    assert taken == [600, 38 * 50]


# Many files


def test_photos_are_decoded_once(album) -> None:
    album.add(9)
    first, again = album.decoded(), album.decoded()
    assert len(album.reads) == 9
    for found in (first, again):
        assert isinstance(found.images, np.memmap)
        assert not found.images.flags.writeable
        assert (found.images.shape, found.images.dtype) == ((9, 3, 2, 2), np.uint8)
        assert (numbers(found), found.kept.tolist(), found.odd) == ([*range(9)], [*range(9)], ())
    assert found.kept.dtype == np.int64
    assert sorted(path.name for path in album.place.iterdir()) == [f"{i:03}.png" for i in range(9)]


def test_the_names_decide_which_and_in_which_order(album) -> None:
    tree = album.add(9).tree
    chosen = decoded(tree, ["005.png", "002.png"], root=album.data, side=2)
    assert (numbers(chosen), chosen.kept.tolist(), album.reads) == ([5, 2], [0, 1], ["005.png", "002.png"])
    assert decoded(tree, [], root=album.data, side=2).images.shape == (0, 3, 2, 2)


def test_another_side_or_a_changed_added_or_touched_file_is_decoded_anew(album) -> None:
    tree = album.add(4).tree
    assert album.count() == 4
    decoded(tree, tree.names, root=album.data, side=3)
    assert len(album.reads) == 8
    album.add(1, start=7)
    assert album.count() == 5
    (album.place / "007.png").write_bytes((album.place / "002.png").read_bytes())
    assert numbers(album.decoded()) == [0, 1, 2, 3, 2]
    before = len(album.reads)
    os.utime(album.place / "001.png", (1, 1))
    assert album.count() == 5
    assert before == 18
    assert album.count() == 0


def test_small_photos_are_decoded_into_memory_and_nothing_is_written(album, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "SMALL", 64 * 2**20)
    album.add(9)
    found = album.decoded()
    assert (numbers(found), type(found.images)) == ([*range(9)], np.ndarray)
    assert not found.images.flags.writeable
    assert album.count() == 0  # names and pixels are asked for apart
    assert not album.data.exists()
    size = sum(path.stat().st_size for path in album.place.iterdir())
    for limit, kept in ((size + 1, False), (size, True)):
        monkeypatch.setattr(decoding, "SMALL", limit)
        assert isinstance(album.decoded().images, np.memmap) == kept


def test_an_archive_is_known_by_its_own_size_and_time(album) -> None:
    album.add(3)
    path = album.place.parent / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for photo in album.place.iterdir():
            archive.write(photo, f"top/in/{photo.name}")
    shutil.rmtree(album.place)

    def found():
        tree = zip_tree(path, "in")
        return decoded(tree, sorted(tree.names), root=album.data, side=2)

    assert numbers(found()) == [0, 1, 2]
    kept = {path.name for path in (album.data / "decoded").iterdir()}
    found()
    assert {path.name for path in (album.data / "decoded").iterdir()} == kept
    os.utime(path, (1, 1))
    found()
    assert {path.name for path in (album.data / "decoded").iterdir()} > kept


BAD = {"b00.jpg": b"", "b01.jpg": b"<html>", "x.png": written(NOISE)[:-200]}


def test_bad_files_are_counted_listed_and_left_out_if_wished(album, capsys) -> None:
    album.add(9)
    for name, content in BAD.items():
        (album.place / name).write_bytes(content)
    for _ in range(2):
        with pytest.raises(PrunebenchError) as error:
            album.decoded()
        message = str(error.value)
        assert "\n" not in message
        assert message.startswith(
            f"3 of the 12 images in {album.place} cannot be read: b00.jpg (empty), b01.jpg (no image, it "
        )
        assert message.endswith("mend or remove them, or leave them out with --on-bad skip")
        assert "listed" not in message
    found = album.decoded(on_bad="skip")
    assert len(album.reads) == 12  # looked through once, whatever is done about the bad ones
    assert (numbers(found), found.kept.tolist()) == ([*range(9)], [*range(9)])
    [listed] = album.data.glob("decoded/*/bad.txt")
    assert [line.split(":")[0] for line in listed.read_text().splitlines()] == [*BAD]
    told = f"{album.place}: 3 of 12 images cannot be read, 0 are odd: bad.txt and odd.txt in {listed.parent} "
    assert capsys.readouterr().err == f"{told}list them\n"


@pytest.mark.parametrize("small", [0, 64 * 2**20])
def test_many_bad_files_are_in_a_list(album, monkeypatch, small) -> None:
    monkeypatch.setattr(decoding, "SMALL", small)
    album.add(2)
    for number in range(7):
        (album.place / f"00{number}.bad.png").write_bytes(b"?")
    with pytest.raises(PrunebenchError, match=r"^7 of the 9 images.* and 2 more, all listed in") as error:
        album.decoded()
    listed = str(error.value).partition("listed in ")[2].partition(";")[0]
    assert Path(listed).read_text().count("(no image") == 0
    assert len(Path(listed).read_text().splitlines()) == 7
    found = album.decoded(on_bad="skip")
    assert (numbers(found), found.kept.tolist()) == ([0, 1], [1, 3])


def test_bad_files_are_told_where_nothing_can_be_written(album, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "SMALL", 64 * 2**20)
    album.add(0)
    for number in range(7):
        (album.place / f"{number}.png").write_bytes(b"?")
    album.data.write_text("no folder")
    with pytest.raises(PrunebenchError, match=r"6.png|and 2 more; mend"):
        album.decoded()


@pytest.mark.parametrize("small", [0, 64 * 2**20])
def test_nothing_but_bad_files_is_an_error_anyway(album, monkeypatch, small) -> None:
    monkeypatch.setattr(decoding, "SMALL", small)
    album.add(0)
    (album.place / "a.png").write_bytes(b"?")
    with pytest.raises(PrunebenchError, match=r"1 of the 1 images .*nothing is left"):
        album.decoded(on_bad="skip")
    nothing = album.decoded(on_bad="skip", empty=True)
    assert nothing.images.shape[:2] == (0, 3) and nothing.kept.tolist() == []
    with pytest.raises(PrunebenchError, match=r"1 of the 1 images .*or leave them out with --on-bad skip"):
        album.decoded(empty=True)
    with pytest.raises(PrunebenchError, match="on_bad is 'ask', expected 'fail' or 'skip'"):
        album.decoded(on_bad="ask")


def test_a_file_that_is_gone_or_locked_away_is_bad(album) -> None:
    tree = album.add(3).tree
    (album.place / "001.png").unlink()
    with pytest.raises(PrunebenchError, match=r"001.png \(No such file or directory\)"):
        decoded(tree, tree.names, root=album.data, side=2)


def test_odd_files_are_listed(album) -> None:
    album.add(2)
    (album.place / "000.jpg").write_bytes((album.place / "001.png").read_bytes())
    ink = Image.new("CMYK", (4, 4), (255, 255, 0, 0))
    (album.place / "002.jpg").write_bytes(written(ink, "JPEG"))
    odd = ("000.jpg: PNG in spite of its name", "002.jpg: colors in CMYK")
    for _ in range(2):
        assert album.decoded().odd == odd
    [listed] = album.data.glob("decoded/*/odd.txt")
    assert tuple(listed.read_text().splitlines()) == odd


def test_photos_may_be_decoded_when_they_are_asked_for(album) -> None:
    album.add(9)
    (album.place / "004.png").write_bytes(b"")
    found = album.decoded(on_bad="skip", cache=False)
    assert album.count(on_bad="skip", cache=False) == 0  # that all can be read is known from the first time
    assert isinstance(found.images, Undecoded)
    assert (found.images.shape, found.images.dtype, found.images.ndim) == ((8, 3, 2, 2), np.uint8, 4)
    assert not list(album.data.glob("decoded/*/pixels")) or not any(
        path.stat().st_size for path in album.data.glob("decoded/*/pixels")
    )
    assert (numbers(found), len(found.images)) == ([0, 1, 2, 3, 5, 6, 7, 8], 8)
    del album.reads[:]
    assert found.images[np.array([7, 0])][:, 0, 0, 0].tolist() == [8, 0]
    assert found.images[3:5][:, 0, 0, 0].tolist() == [3, 5]
    assert album.reads == ["008.png", "000.png", "003.png", "005.png"]
    np.testing.assert_array_equal(np.asarray(found.images), album.decoded(on_bad="skip").images)
    (album.place / "000.png").write_bytes(b"")
    with pytest.raises(PrunebenchError, match=r"000.png could be read before, and now cannot: empty"):
        found.images[:]


def test_the_data_folder_lies_apart_from_the_photos(tmp_path) -> None:
    check_apart(tmp_path / "data", tmp_path / "photos")
    check_apart(tmp_path, tmp_path / "photos")
    for root in ("photos", "photos/data", "other/../photos"):
        with pytest.raises(PrunebenchError, match="never written to; choose another --data"):
            check_apart(tmp_path / root, tmp_path / "photos")


@pytest.mark.parametrize(("terminal", "patience", "bars"), [(True, 0, 1), (True, 60, 0), (False, 0, 0)])
def test_a_bar_is_shown_on_a_terminal_when_it_takes_long(
    album, monkeypatch, terminal, patience, bars
) -> None:
    made, real = [], decoding_bar._progress
    monkeypatch.setattr(decoding_bar, "DELAY_SECONDS", patience)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(decoding_bar, "_progress", lambda: made.append(real()) or made[-1])
    album.add(5).decoded()
    assert len(made) == bars
    for bar in made:
        [task] = bar.tasks
        assert (task.completed, task.total, bar.live.is_started) == (5, 5, False)


def test_threads_keep_the_order(album, monkeypatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 4)
    place = album.add(40).place

    def read(name):
        time.sleep(0.01 * (int(name[:3]) % 3 == 0))
        return (place / name).read_bytes()

    names = tuple(f"{number:03}.png" for number in range(40))
    assert numbers(decoded(Tree(place, names, read), names, root=album.data, side=2)) == [*range(40)]
