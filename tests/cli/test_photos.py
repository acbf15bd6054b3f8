"""draw, prune and evaluate on the command line, and the page that shows them."""

import csv
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from prunebench.cli import photos as commands
from prunebench.photos.folder import read_labels
from prunebench.photos.prune import draw
from prunebench.pipeline import context, jobs
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.runs.kept import COLUMNS
from tests.photo_folders import listing, write_labels, write_photos
from tests.photos.test_evaluate import comparison
from tests.readme_blocks import ROOT

SMALL = "--side 8 --device cpu --workers 0"
QUICK = f"--method probe_aum --backbone pixels --set recipe.epochs=3 {SMALL}"
HEADER = ",".join(COLUMNS)
TAKEN = (
    "kept.csv exists and holds something else, which may be your work; remove it or choose another --output"
)
PRUNE = f"prune photos --known labels.csv --output kept.csv {QUICK}"


@pytest.fixture
def photos(tmp_path):
    """60 photos in photos/, 12 labels in labels.csv and all in all.csv, where `cli` runs."""
    truth = write_photos(tmp_path / "photos")
    write_labels(tmp_path / "labels.csv", dict(list(truth.items())[::5]))
    write_labels(tmp_path / "all.csv", truth)
    yield SimpleNamespace(folder=tmp_path / "photos", truth=truth)
    context.load_split.cache_clear()


# draw


def test_draw_writes_a_table_to_fill_in(cli, photos, tmp_path):
    before = listing(photos.folder)
    told = cli("draw photos --labels 5 --output to_label.csv")
    assert (told.code, told.err) == (0, "")
    assert told.out == "wrote to_label.csv: 5 images to label; fill in the column label\n"
    lines = (tmp_path / "to_label.csv").read_text().splitlines()
    chosen = draw(photos.folder, 5, data=tmp_path / "data")
    assert lines == ["file,label", *(f"{name}," for name in chosen)]
    assert listing(photos.folder) == before


def test_draw_says_the_same_twice_and_writes_over_nothing(cli, photos, tmp_path):
    line = "draw photos --labels 5 --output to_label.csv"
    cli(line)
    assert cli(line).out.startswith("to_label.csv is up to date: 5 images")
    filled = (tmp_path / "to_label.csv").read_text().replace(",\n", ",cat\n")
    (tmp_path / "to_label.csv").write_text(filled)
    told = cli(line)
    assert told.code == 2
    assert told.err.startswith("Error: to_label.csv exists and holds something else, which may be your work")
    assert (tmp_path / "to_label.csv").read_text() == filled
    assert cli("draw photos --labels 5 --seed 1 --output other.csv").code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("draw photo --labels 5 --output a.csv", "there is no folder photo"),
        (
            "draw photos --labels 5 --by typiclst --output a.csv",
            "no draw named 'typiclst'. Did you mean 'typiclust'? See: prunebench list draws",
        ),
        (
            "draw photos --labels 5 --set usl.weight=1 --output a.csv",
            "--set usl.weight: uniform has no such part",
        ),
        ("draw photos --labels 61 --output a.csv", "--labels is 61, expected 1 to 60, the images there are"),
        (
            "draw photos --labels 5 --output photos/a.csv",
            "--output photos/a.csv lies in photos, where nothing",
        ),
        (
            "draw photos --labels 5 --output labels.csv/a.csv",
            "cannot write labels.csv/a.csv: Not a directory; choose",
        ),
        (f"{PRUNE} --budget 12", "12 images have a label and are kept, so none of the 12 to keep is left"),
        (PRUNE, "say how much to keep: either --budget LABELS or --ratio PERCENT"),
        (
            f"{PRUNE.replace('labels.csv', 'l.csv')} --budget 20",
            "cannot read l.csv: No such file or directory",
        ),
        (f"{PRUNE} --budget 20 --data photos/data", "--data photos/data lies in photos, where nothing is"),
        ("evaluate kept.csv --labels all.csv", "cannot read kept.csv: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(cli, photos, line, message):
    before = listing(photos.folder)
    told = cli(line)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1
    assert listing(photos.folder) == before


def test_draw_by_looking_says_what_it_will_do_in_one_line(cli, photos, tmp_path):
    before = listing(photos.folder)
    line = f"draw photos --labels 5 --by typiclust --backbone pixels {SMALL} --output first.csv"
    told = cli(line)
    assert (told.code, told.err) == (0, "")
    plan, before_it, after_it, outcome = told.out.splitlines()
    assert plan == (
        "drawing 5 of 60 images in photos by typiclust, at 8 pixels on cpu; "
        "embeddings of pixels are made once"
    )
    assert re.fullmatch(r"time  \S+ \S+ on cpu", before_it)
    assert re.fullmatch(rf"took \S+ \S+; told before: {before_it.removeprefix('time  ')}", after_it)
    assert outcome == "wrote first.csv: 5 images to label; fill in the column label"
    names = [row.removesuffix(",") for row in (tmp_path / "first.csv").read_text().splitlines()[1:]]
    assert len({*names}) == 5 and {*names} <= {*photos.truth}
    again = cli(line).out
    assert "time  none, all is stored\n" in again and "took" not in again
    assert "first.csv is up to date" in again
    assert listing(photos.folder) == before


def test_draws_are_listed_with_their_fields(cli):
    told = cli("list draws")
    assert told.code == 0
    assert [line.split()[0] for line in told.out.splitlines()] == [
        *("draw", "kcenter", "probcover", "typiclust", "uniform", "usl", "zcore")
    ]
    assert "clusters=500 neighbors=20" in told.out


# prune


def test_without_yes_prune_says_what_it_would_cost_and_ends(cli, photos, tmp_path):
    told = cli(f"{PRUNE} --budget 20")
    assert (told.code, told.err) == (1, "")  # nothing was made, which a script has to notice
    lines = [re.sub(" {2,}", "  ", line) for line in told.out.splitlines()]
    assert lines[:7] == [
        "images  60 in photos",
        "duplicates  not known before the images are read and compared",
        "classes  3: bird 3, cat 5, dog 4",
        "labeled  12, all kept",
        "to label  8, which makes 20 in all",
        "to drop  40 images",
        "method  Probe-AUM+Cutoff, annotated kept{recipe.epochs=3} on pixels",
    ]
    assert re.fullmatch(r"time  \S+ \S+ on cpu", lines[7])
    assert re.fullmatch(r"disk  \S+ kB of \S+ GB free", lines[8])
    assert lines[9:] == ["", "Nothing was made. The same command with --yes goes on."]
    assert not (tmp_path / "kept.csv").exists() and not (tmp_path / "store").exists()


def test_with_yes_prune_writes_a_line_for_each_image(cli, photos, tmp_path):
    before = listing(photos.folder)
    told = cli(f"{PRUNE} --budget 20 --yes")
    assert (told.code, told.err) == (0, "")
    assert told.out.endswith("\nwrote kept.csv: 12 keep_labeled, 8 to_label, 40 drop\n")
    (before_it,) = re.findall(r"^time +(\S+ \S+ on cpu)$", told.out, re.MULTILINE)
    assert re.search(rf"^took \S+ \S+; told before: {before_it}$", told.out, re.MULTILINE)
    with (tmp_path / "kept.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == sorted(photos.truth)
    assert sum(row["status"] != "drop" for row in rows) == 20
    assert listing(photos.folder) == before


def test_prune_again_needs_no_yes_and_makes_nothing(cli, photos, monkeypatch):
    cli(f"{PRUNE} --budget 20 --yes")
    monkeypatch.setattr(jobs, "run", None)
    told = cli(f"{PRUNE} --budget 20")
    assert re.search("time +none, all is stored", told.out) and "took" not in told.out
    assert re.search("duplicates +none\n", told.out) and re.search(r"disk +none of \S+ GB free", told.out)
    assert "\nno duplicates found\n" in told.out
    assert told.out.endswith("kept.csv is up to date: 12 keep_labeled, 8 to_label, 40 drop\n")


def test_on_a_terminal_a_person_is_asked(cli, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "_confirmed", lambda: True)
    assert cli(f"{PRUNE} --budget 20").out.endswith("12 keep_labeled, 8 to_label, 40 drop\n")


def test_warnings_go_to_stderr(cli, photos, tmp_path):
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(f"{next(n for n in photos.truth if n not in (tmp_path / 'labels.csv').read_text())},eel\n")
    told = cli(f"{PRUNE} --budget 20 --classes 6")
    assert told.err == (
        "warning: 1 class(es) with a single label: eel\n"
        "warning: 2 class(es) without a label, which nothing can recognize\n"
    )


def test_images_that_are_left_out_are_named(cli, photos):
    broken = max(photos.truth)
    (photos.folder / broken).write_bytes(b"")
    assert cli(f"{PRUNE} --budget 20 --yes").err.startswith("Error: 1 of the 60 images in ")
    told = cli(f"{PRUNE} --budget 20 --yes --on-bad skip")
    assert told.out.endswith("wrote kept.csv: 12 keep_labeled, 8 to_label, 39 drop\n")
    said = f"warning: 1 image(s) cannot be read and are left out: {broken}\n"
    assert told.err == said
    for by in ("uniform", "kcenter --backbone pixels --side 8 --device cpu --workers 0"):
        output = f"{by.split()[0]}.csv"
        drawn = cli(f"draw photos --labels 59 --on-bad skip --by {by} --output {output}")
        assert f"wrote {output}: 59 images to label" in drawn.out and drawn.err == said
    copy = next(name for name in photos.truth if name != broken)
    shutil.copy(photos.folder / copy, photos.folder / f"copy{Path(copy).suffix}")
    drawn = cli("draw photos --labels 60 --on-bad skip --output more.csv")
    assert (drawn.code, drawn.out) == (2, "")
    assert drawn.err == (
        "Error: --labels is 60, but only 59 images in photos can be read and differ; the others are 1 copy "
        f"and 1 that cannot be read: {broken}; lower it\n"
    )


def test_images_that_appear_meanwhile_are_not_among_those_left_out(cli, photos, monkeypatch):
    show = commands._show_pruned

    def then_added(*given):
        show(*given)
        (photos.folder / "new.png").write_bytes(b"")

    monkeypatch.setattr(commands, "_show_pruned", then_added)
    assert cli(f"{PRUNE} --budget 20 --yes").err == ""


@pytest.mark.parametrize(
    ("line", "older"),
    [
        (f"{PRUNE} --budget 20 --yes", "my notes\n"),
        (f"{PRUNE} --budget 20 --yes", "file,label\na.png,cat\n"),
        (f"{PRUNE} --budget 20 --yes", f"{HEADER}\na.png,drop,cat,0.5,,\nb.png,to_label,cat,0.5,,\n"),
        ("draw photos --labels 1 --by kcenter --output kept.csv", "file,label\na.png,cat\n"),
        ("draw photos --labels 1 --by kcenter --output kept.csv", "file,label\na.png,\nb.png,\n"),
        ("recommend photos --known all.csv --output kept.csv", "my notes\n"),
        ("recommend photos --known all.csv --output kept.csv", "labels,accuracy\n1,2\n"),
    ],
)
def test_an_output_that_will_be_refused_is_refused_before_all_work(cli, photos, tmp_path, line, older):
    (tmp_path / "kept.csv").write_text(older)
    told = cli(line)
    assert (told.code, told.out) == (2, "")
    assert told.err == f"Error: {TAKEN}\n"
    assert (tmp_path / "kept.csv").read_text() == older
    assert not (tmp_path / "store").exists() and not (tmp_path / "data").exists()


@pytest.mark.parametrize("line", [f"{PRUNE} --budget 20 --yes", "draw photos --labels 5 --output kept.csv"])
def test_an_output_that_cannot_be_written_is_told_before_all_work(cli, photos, tmp_path, monkeypatch, line):
    monkeypatch.setattr("prunebench.photos.prune.drawn", None)
    monkeypatch.setattr("prunebench.photos.estimate.preview", None)
    told = cli(line.replace("kept.csv", "labels.csv/kept.csv"))
    assert (told.code, told.out) == (2, "")
    assert told.err == ("Error: cannot write labels.csv/kept.csv: Not a directory; choose another --output\n")
    (tmp_path / "kept.csv").mkdir()
    assert cli(line).err == "Error: --output kept.csv is a folder; name a .csv in it\n"


def test_an_output_that_is_there_is_told_with_the_costs(cli, photos, tmp_path):
    older = f"{HEADER}\n" + "".join(f"{name},to_label,,,,\n" for name in [*photos.truth][:20])
    (tmp_path / "kept.csv").write_text(older)
    warning = "warning: kept.csv exists; it is not overwritten if the result differs\n"
    assert cli(f"{PRUNE} --budget 20").err == warning
    told = cli(f"{PRUNE} --budget 20 --yes")
    assert told.code == 2 and told.err.startswith(f"{warning}Error: kept.csv exists and holds something else")
    assert (tmp_path / "kept.csv").read_text() == older
    told = cli(f"{PRUNE.replace('kept.csv', 'mine.csv')} --budget 20")
    assert (told.code, told.err) == (0, "")  # what was made was not lost


def test_ctrl_c_says_how_to_go_on(cli, photos, monkeypatch):
    def interrupt(_stage, _context):
        raise KeyboardInterrupt

    monkeypatch.setattr(Proxy, "compute", interrupt)
    told = cli(f"{PRUNE} --budget 20 --yes")
    assert (told.code, told.err) == (130, "Interrupted. The same command goes on from here.\n")


def test_a_disk_that_is_too_full_is_told_before(cli, photos, monkeypatch):
    monkeypatch.setattr("prunebench.photos.estimate.free", lambda _place: 1000)
    told = cli(f"{PRUNE} --budget 20 --yes")
    assert told.code == 2
    assert re.match(r"Error: 63 kB are needed and 1.0 kB are free; choose another --store", told.err)


# evaluate


def test_evaluate_shows_both_and_what_may_be_said(cli, photos, tmp_path):
    cli(f"{PRUNE} --budget 20 --method random --yes")
    told = cli("evaluate kept.csv --labels all.csv --holdout 0.2 --seeds 2 --device cpu --workers 0")
    assert (told.code, told.err) == (0, "")
    better, before_it, after_it, *lines = told.out.splitlines()
    assert better.startswith("backbone: efficientnet_lite0. Better, but slower: --backbone dinov2_vitb14, ")
    assert re.fullmatch(r"time  \S+ \S+ on cpu", before_it)
    assert re.fullmatch(rf"took \S+ \S+; told before: {before_it.removeprefix('time  ')}", after_it)
    assert lines[0] == f"60 of 60 images in {photos.folder} have a label, 20 are kept"
    assert re.match(r"tested on 12 that are held out, trained on 1\d( to 1\d)?; Random has about ", lines[1])
    assert lines[3].split() == ["kept", "Random", "difference"]
    assert [line[:11] for line in lines[4:7]] == ["accuracy, %", "seed 0     ", "seed 1     "]
    verdicts = {
        "Nothing is decided: the interval holds 0.": 1,
        "On these photos Random did better.": 1,
        "On these photos the kept photos did better.": 1,
        "Nothing is decided: all seeds have the same difference, which shows no spread.": 0,
    }
    intervals = [line for line in lines if line.startswith("95 % interval of the difference: ")]
    assert len(intervals) == verdicts[lines[-1]]
    line = "evaluate kept.csv --labels all.csv --holdout 0.2 --seeds 2 --device cpu --workers 0"
    assert "backbone: " not in cli(f"{line} --backbone pixels").out


def test_ten_seeds_are_shown_in_eighty_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("prunebench.runs.progress.sys.stdout.isatty", lambda: True)
    commands._show_comparison(comparison([70.0 + seed for seed in range(10)], [71.0] * 10))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:-2] == ["seed 9       79.0        71.0        8.0", ""]
    assert max(len(line) for line in lines[3:]) < 80


def test_evaluate_takes_the_labels_of_two_files_together(cli, photos, tmp_path):
    cli(f"{PRUNE} --budget 20 --method random --yes")
    line = "evaluate kept.csv --holdout 0.2 --seeds 1 --device cpu --workers 0"
    at_once = cli(f"{line} --labels all.csv")
    known = list(photos.truth.items())
    write_labels(tmp_path / "first.csv", dict(known[:40]))
    write_labels(tmp_path / "second.csv", dict(known[30:]))
    in_two = cli(f"{line} --labels first.csv --labels second.csv")
    assert (in_two.code, in_two.err) == (0, "")
    compared = "60 of 60 images"
    assert in_two.out.partition(compared)[1:] == at_once.out.partition(compared)[1:]


def test_labels_of_two_rounds_are_taken_together(cli, photos, tmp_path):
    known = list(read_labels(tmp_path / "labels.csv").items())
    first, second = known[:7], known[5:]
    write_labels(tmp_path / "first.csv", dict(first))
    write_labels(tmp_path / "second.csv", dict(second))
    rounds = PRUNE.replace("--known labels.csv", "--known first.csv --known second.csv")
    assert rounds != PRUNE
    cli(f"{PRUNE} --budget 20 --yes")
    at_once = (tmp_path / "kept.csv").read_text()
    (tmp_path / "kept.csv").unlink()
    told = cli(f"{rounds} --budget 20 --yes")
    assert (told.code, told.err) == (0, "")
    assert (tmp_path / "kept.csv").read_text() == at_once


def test_rounds_that_disagree_are_one_line(cli, photos, tmp_path):
    known = read_labels(tmp_path / "labels.csv")
    name, label = next(iter(known.items()))
    other = next(found for found in known.values() if found != label)
    write_labels(tmp_path / "second.csv", {name: other})
    told = cli(f"{PRUNE} --known second.csv --budget 20")
    assert told.code == 2
    assert told.err == (
        f"Error: labels.csv says of {name} {label!r}, and second.csv {other!r}; keep one of the two\n"
    )


def test_what_is_not_read_is_told_by_every_command(cli, photos, tmp_path, without_heic):
    (photos.folder / "phone.heic").touch()
    said = "warning: passed over, as they are not read: 1 .heic; `pip install pillow-heif` reads HEIC\n"
    assert cli("draw photos --labels 5 --output to_label.csv").err == said
    assert cli(f"{PRUNE} --budget 20 --method random --yes").err == said
    line = "evaluate kept.csv --labels all.csv --holdout 0.2 --seeds 1 --device cpu --workers 0"
    assert cli(line).err == said


def test_evaluate_says_where_the_comparison_is_not_fair(cli, photos, tmp_path):
    cli(f"{PRUNE} --budget 20 --yes")
    kept = [
        row.split(",")[0] for row in (tmp_path / "kept.csv").read_text().splitlines() if ",drop," not in row
    ]
    others = [name for name in photos.truth if name not in kept][:20]
    write_labels(tmp_path / "all.csv", {name: photos.truth[name] for name in sorted([*kept[1:], *others])})
    told = cli("evaluate kept.csv --labels all.csv --holdout 0.2 --seeds 1 --device cpu --workers 0")
    assert told.out.splitlines()[4].startswith("Random is drawn from labeled images, so the comparison is")
    assert "\nOne seed decides nothing.\n" in told.out


# The page


def commands_of(page):
    """Return the commands a page shows, in order, without the comments at their ends."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("prunebench ")]


def test_the_commands_of_the_page_run_in_order(cli, tmp_path):
    """200,000 photos there are 400 here, and every other number goes with it."""
    truth = write_photos(tmp_path / "photos", 400)
    write_labels(tmp_path / "all.csv", truth)
    before = listing(tmp_path / "photos")
    shown = commands_of("photos.md")[:7]  # the others measured its tables
    commands = ["draw", "draw", "prune", "prune", "convert", "prune", "evaluate"]
    assert [words[0] for words in shown] == commands
    told = []
    for words in shown:
        line = " ".join(
            f"{int(word) // 500}" if word.isdigit() and int(word) > 1000 else word for word in words
        )
        looks = words[0] == "prune" or "--by" in words
        extra = f"--backbone pixels {SMALL}" if looks else ""
        told.append(cli(f"{line} {'--device cpu --workers 0' if words[0] == 'evaluate' else extra}"))
        costs_alone = words[0] == "prune" and "--yes" not in words
        assert told[-1].code == int(costs_alone), told[-1].err
        if words[0] in ("draw", "convert"):  # and now a person labels
            sheet = tmp_path / ("to_label.csv" if words[0] == "draw" else "next.csv")
            asked = [row.split(",")[0] for row in sheet.read_text().splitlines()[1:]]
            assert len(asked) == 40
            write_labels(sheet, {name: truth[name] for name in asked})
    assert told[1].out.endswith("wrote first.csv: 40 images to label; fill in the column label\n")
    assert told[2].out.endswith("The same command with --yes goes on.\n")
    assert told[3].out.endswith("wrote kept.csv: 40 keep_labeled, 40 to_label, 320 drop\n")
    assert told[5].out.endswith("wrote kept2.csv: 80 keep_labeled, 40 to_label, 280 drop\n")
    assert "tested on 40 that are held out" in told[6].out
    assert listing(tmp_path / "photos") == before
