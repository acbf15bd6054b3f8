"""Into other programs and back: what `convert` writes, and which labels are read from what they export."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunebench.photos import annotations
from prunebench.photos.convert import convert
from prunebench.photos.folder import labels_of, read_labels, scan
from prunebench.photos.prune import prune
from prunebench.photos.targets import TARGETS
from prunebench.pipeline import context
from tests.messages import line
from tests.photo_folders import listing, write_labels, write_photos

KEPT_CSV = """file,status,pseudo_label,confidence,score
a b.jpg,keep_labeled,cat,1,0.5
d.png,drop,cat,,
sea/c.png,to_label,dog & co,0.75,-1
"""
DRAWN_CSV = "file,label\nsea/c.png,dog & co\na b.jpg,\n"
FILES = ("a b.jpg", "d.png", "sea/c.png")


@pytest.fixture
def photos(tmp_path):
    """The folder photos/ with three files, and the tables kept.csv and drawn.csv beside it."""
    for name in FILES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "kept.csv").write_text(KEPT_CSV)
    (tmp_path / "drawn.csv").write_text(DRAWN_CSV)
    return tmp_path / "photos"


def content(path):
    """Return the target of a link, or the text of a file."""
    return path.readlink() if path.is_symlink() else path.read_bytes().decode()


@pytest.fixture
def to(photos, tmp_path):
    """to("cvat", table="kept.csv", ...) converts, and returns what was written: {path: text, or target}."""

    def converted(target, table="kept.csv", **options):
        options = {"folder": photos, "store": tmp_path / "store"} | options
        output = tmp_path / f"{target}-{Path(table).stem}"
        assert convert(tmp_path / table, target, output, **options)[0]
        files = [path for path in output.rglob("*") if path.is_file()]
        return {path.relative_to(output).as_posix(): content(path) for path in files}

    return converted


# Out


def test_label_studio_gets_labels_as_annotations_and_guesses_as_predictions(to):
    files = to("label-studio")
    assert files["tasks.json"] == (
        "[\n"
        '{"data": {"image": "/data/local-files/?d=photos/a%20b.jpg", "file": "a b.jpg", '
        '"status": "keep_labeled", "score": 0.5}, "annotations": [{"result": [{"from_name": "label", '
        '"to_name": "image", "type": "choices", "value": {"choices": ["cat"]}}]}]},\n'
        '{"data": {"image": "/data/local-files/?d=photos/sea/c.png", "file": "sea/c.png", '
        '"status": "to_label", "score": -1.0}, "predictions": [{"model_version": "prunebench", "result": '
        '[{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": ["dog & co"]}}'
        '], "score": 0.75}]}\n'
        "]\n"
    )
    assert files["labels.xml"] == (
        '<View>\n  <Image name="image" value="$image"/>\n  <Choices name="label" toName="image" '
        'choice="single" showInLine="true">\n    <Choice value="cat"/>\n    <Choice value="dog &amp; co"/>\n'
        "  </Choices>\n</View>\n"
    )


def test_a_prefix_is_the_address_of_the_photos_and_needs_no_folder(to):
    tasks = json.loads(to("label-studio", prefix="https://host/p/", folder=None)["tasks.json"])
    assert [task["data"]["image"] for task in tasks] == [
        "https://host/p/a%20b.jpg",
        "https://host/p/sea/c.png",
    ]
    assert to("cvat", prefix="share/", folder=None)["images.txt"] == "share/a b.jpg\nshare/sea/c.png\n"


def test_a_draw_is_tasks_in_the_order_of_the_draw(to):
    tasks = json.loads(to("label-studio", "drawn.csv")["tasks.json"])
    assert [task["data"]["file"] for task in tasks] == ["sea/c.png", "a b.jpg"]
    assert [len(task.get("annotations", [])) for task in tasks] == [1, 0]
    assert all("predictions" not in task and "score" not in task["data"] for task in tasks)


def test_a_draw_without_labels_knows_no_classes_to_set_up(to, tmp_path):
    (tmp_path / "drawn.csv").write_text("file,label\nsea/c.png,\n")
    assert {*to("label-studio", "drawn.csv")} == {"tasks.json"}


def test_cvat_gets_guesses_as_tags_that_no_person_set(to):
    files = to("cvat")
    assert files == {
        "images.txt": "a b.jpg\nsea/c.png\n",
        "labels.json": '[\n{"name": "cat", "type": "tag", "attributes": []},\n'
        '{"name": "dog & co", "type": "tag", "attributes": []}\n]\n',
        "annotations.xml": '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        "<meta><task><size>2</size><mode>annotation</mode><labels>\n"
        "<label><name>cat</name><type>tag</type><attributes/></label>\n"
        "<label><name>dog &amp; co</name><type>tag</type><attributes/></label>\n</labels></task></meta>\n"
        '  <image id="0" name="a b.jpg">\n    <tag label="cat" source="manual"/>\n  </image>\n'
        '  <image id="1" name="sea/c.png">\n    <tag label="dog &amp; co" source="auto"/>\n  </image>\n'
        "</annotations>\n",
    }


def test_cvat_numbers_images_by_their_names(to):
    assert to("cvat", "drawn.csv")["images.txt"] == "a b.jpg\nsea/c.png\n"


def test_fiftyone_gets_all_photos_where_they_are(to, photos):
    files = to("fiftyone")
    cat = {"_cls": "Classification", "label": "cat", "confidence": None}
    assert json.loads(files["samples.json"])["samples"] == [
        {
            "filepath": str(photos / name),
            "tags": [status],
            "file": name,
            "status": status,
            "ground_truth": truth,
            "pseudo_label": guess,
            "score": score,
        }
        for name, status, truth, guess, score in [
            ("a b.jpg", "keep_labeled", cat, None, 0.5),
            ("d.png", "drop", None, cat, None),
            ("sea/c.png", "to_label", None, {**cat, "label": "dog & co", "confidence": 0.75}, -1.0),
        ]
    ]
    assert json.loads(files["metadata.json"]) == {
        "media_type": "image",
        "info": {"classes": ["cat", "dog & co"]},
    }


def test_links_are_a_folder_for_each_status_and_class(to, photos):
    assert to("links") == {
        "keep_labeled/cat/a b.jpg": photos / "a b.jpg",
        "drop/cat/d.png": photos / "d.png",
        "to_label/dog & co/sea/c.png": photos / "sea/c.png",
    }


def test_torchvision_reads_links(to, tmp_path):
    from torchvision.datasets import ImageFolder

    to("links")
    read = ImageFolder(str(tmp_path / "links-kept/to_label"))
    assert (read.classes, len(read)) == (["dog & co"], 1)


def test_links_of_photos_without_a_class_are_one_for_each_status(to, tmp_path):
    (tmp_path / "kept.csv").write_text(KEPT_CSV.replace(",cat,", ",,").replace(",dog & co,", ",,"))
    assert {*to("links")} == {"keep_labeled/a b.jpg", "drop/d.png", "to_label/sea/c.png"}


def test_no_class_leads_out_of_the_folder_of_links(to, tmp_path):
    (tmp_path / "kept.csv").write_text(KEPT_CSV.replace("dog & co", "../../x"))
    assert "to_label/_._.._x/sea/c.png" in to("links")


def test_links_keep_apart_classes_whose_folders_would_be_called_alike(to, tmp_path):
    (tmp_path / "drawn.csv").write_text("file,label\na b.jpg,a/b\nd.png,a_b\nsea/c.png,a_b_0\n")
    assert {*to("links", "drawn.csv")} == {
        "keep_labeled/a_b_0_0/a b.jpg",
        "keep_labeled/a_b_1/d.png",
        "keep_labeled/a_b_0_2/sea/c.png",
    }


def test_parquet_has_numbers_and_missing_values(photos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    convert(tmp_path / "kept.csv", "parquet", tmp_path / "kept.parquet", folder=photos)
    assert parquet.read_table(tmp_path / "kept.parquet").to_pydict() == {
        "file": [*FILES],
        "status": ["keep_labeled", "drop", "to_label"],
        "label": ["cat", None, None],
        "pseudo_label": [None, "cat", "dog & co"],
        "confidence": [None, None, 0.75],
        "score": [0.5, None, -1.0],
    }


def next_sheet(tmp_path, text):
    """Convert a table to the sheet of what is to be labeled next."""
    (tmp_path / "table.csv").write_text(text)
    output = tmp_path / f"sheet{len([*tmp_path.glob('sheet*')])}.csv"
    convert(tmp_path / "table.csv", "csv", output, store=tmp_path / "store")
    return output.read_text()


def test_the_next_sheet_has_what_is_to_be_labeled_by_score(tmp_path):
    rows = ["a,to_label,cat,0.5,-1", "b,drop,cat,0.5,9", "c,to_label,,,", "d,keep_labeled,dog,1,9"]
    rows += ["'=e,to_label,cat,0.5,0.25", "f,to_label,cat,0.5,3"]
    text = "\n".join(["file,status,pseudo_label,confidence,score", *rows, ""])
    assert next_sheet(tmp_path, text) == "file,label\nf,\n'=e,\na,\nc,\n"


def test_the_next_sheet_is_at_random_without_scores_and_always_the_same(tmp_path):
    names = [f"{number:03d}.png" for number in range(200)]
    text = "file,status\n" + "".join(f"{name},to_label\n" for name in names)
    sheet = next_sheet(tmp_path, text)
    listed = [line.removesuffix(",") for line in sheet.splitlines()[1:]]
    assert sorted(listed) == names != listed
    assert np.corrcoef([names.index(name) for name in listed], range(200))[0, 1] < 0.2
    backwards = "file,status\n" + "".join(f"{name},to_label\n" for name in names[::-1])
    assert next_sheet(tmp_path, backwards) == sheet


def test_the_next_sheet_of_a_draw_has_its_other_lines_in_their_order(tmp_path):
    assert next_sheet(tmp_path, "file,label\nz,\nb,cat\na,\n") == "file,label\nz,\na,\n"


def test_a_table_with_nothing_to_label_is_one_line(tmp_path):
    said = line(lambda: next_sheet(tmp_path, "file,status\na,keep_labeled\nb,drop\n"))
    assert said.endswith("table.csv has no photo to label; csv lists the lines of status to_label")


def test_the_next_sheet_goes_back_into_prune_beside_the_first(tmp_path):
    truth = write_photos(tmp_path / "more")
    first = write_labels(tmp_path / "first.csv", dict(list(truth.items())[:12]))
    made = {"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0}
    options = {"method": "random", "backbone": "pixels", "side": 8} | made
    pruned = prune(tmp_path / "more", first, budget=20, **options)
    pruned.to_csv(tmp_path / "pruned.csv")
    convert(tmp_path / "pruned.csv", "csv", tmp_path / "next.csv", store=made["store"])
    sheet = [row.removesuffix(",") for row in (tmp_path / "next.csv").read_text().splitlines()[1:]]
    assert sorted(sheet) == sorted(pruned.chosen("to_label"))
    write_labels(tmp_path / "next.csv", {name: truth[name] for name in sheet})
    again = prune(tmp_path / "more", [first, tmp_path / "next.csv"], budget=30, **options)
    assert {*sheet} < {*again.chosen("keep_labeled")} and len(again.chosen("to_label")) == 10


def test_parquet_without_its_package_is_one_line(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = line(lambda: convert(tmp_path / "kept.csv", "parquet", tmp_path / "a", folder=photos))
    assert message == "a .parquet needs pyarrow: pip install 'prunebench[parquet]'"


@pytest.mark.parametrize("target", [*TARGETS])
def test_nothing_is_written_twice_or_over_another(photos, tmp_path, target):
    if target == "parquet":
        pytest.importorskip("pyarrow")
    before = listing(photos)
    asked = (tmp_path / "kept.csv", target, tmp_path / "out")
    assert [convert(*asked, folder=photos)[0] for _ in range(2)] == [True, False]
    (tmp_path / "kept.csv").write_text(KEPT_CSV.replace("drop", "to_label").replace("0.5", "0.25"))
    assert "exists and holds something else" in line(lambda: convert(*asked, folder=photos))
    assert listing(photos) == before


def test_the_command_says_what_it_wrote(cli, photos):
    line = "convert kept.csv --to cvat --output out"
    told = cli(f"{line} --folder photos")
    assert (told.code, told.err) == (0, "")
    assert told.out == "wrote out: 1 keep_labeled, 1 to_label\n"
    assert cli(f"{line} --folder photos").out == "out is up to date: 1 keep_labeled, 1 to_label\n"
    told = cli("convert kept.csv --to csv --output next.csv --folder photos")
    assert told.out == "wrote next.csv: 1 to_label\n"
    told = cli("convert kept.csv --to links --output links --folder photos")
    assert told.out == "wrote links: 1 keep_labeled, 1 to_label, 1 drop\n"
    assert cli("convert gone.csv --to cvat --output out").err.startswith("Error: cannot read ")


def test_a_folder_is_not_named_as_a_file(cli, photos, tmp_path):
    told = cli("convert kept.csv --to cvat --output c.zip --folder photos")
    assert (told.code, told.out) == (2, "")
    assert told.err == "Error: --output c.zip: cvat is a folder of files; leave the ending .zip out\n"
    assert not (tmp_path / "c.zip").exists()
    assert cli("convert kept.csv --to cvat --output round.2 --folder photos").code == 0


# What is wrong with a table


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (KEPT_CSV.replace("d.png", "e.png"), "cvat", "lists 1 file(s) that are no images in"),
        (KEPT_CSV.replace("d.png", "a b.jpg"), "cvat", "lists a file twice"),
        (KEPT_CSV.replace("d.png,drop", "d.png,dropped"), "cvat", "has the status 'dropped'; known: keep_"),
        (
            KEPT_CSV.replace("0.75", '"0,75"'),
            "cvat",
            "has the confidence '0,75' of sea/c.png, expected a number",
        ),
        (KEPT_CSV.replace("cat", "c\x01t"), "cvat", "has 'c\\x01t', which no XML file can hold; rename it"),
        (KEPT_CSV.replace("cat", "c\x01t"), "label-studio", "which no XML file can hold"),
        ("file,score\na b.jpg,1\n", "cvat", "needs one column 'label' and has none"),
        (
            KEPT_CSV,
            "coco",
            "no target named 'coco'. Known: csv, cvat, fiftyone, label-studio, links, parquet.",
        ),
    ],
)
def test_a_table_that_cannot_be_converted_is_one_line(photos, tmp_path, text, target, message):
    (tmp_path / "kept.csv").write_text(text)
    assert message in line(lambda: convert(tmp_path / "kept.csv", target, tmp_path / "out", folder=photos))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["label-studio", "fiftyone", "links"])
def test_without_its_folder_a_table_has_no_addresses(photos, tmp_path, target):
    asked = (tmp_path / "drawn.csv", target, tmp_path / "out")
    message = line(lambda: convert(*asked, store=tmp_path / "store"))
    assert message.startswith(f"{target} needs to know where the photos") and message.endswith(
        "--folder FOLDER"
    )


@pytest.mark.parametrize("target", ["csv", "fiftyone", "links", "parquet"])
def test_a_prefix_where_it_has_no_use(photos, tmp_path, target):
    asked = (tmp_path / "kept.csv", target, tmp_path / "out")
    message = line(lambda: convert(*asked, folder=photos, prefix="a/"))
    assert message == f"--prefix is for label-studio and cvat; {target} has no use for it"


def test_nothing_is_written_into_the_photos(photos, tmp_path):
    asked = (tmp_path / "kept.csv", "cvat", photos / "out")
    assert "where nothing is written" in line(lambda: convert(*asked, folder=photos))


# Back


def task(label, file="a b.jpg", **more):
    region = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}
    return {"id": 1, "data": {"file": file}, "annotations": [{"result": [region], **more}]}


def written(tmp_path, content, name="export.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_labels_of_label_studio(tmp_path):
    tasks = [
        task("cat"),
        task("dog", "sea/c.png") | {"predictions": [{"result": task("bird")["annotations"][0]["result"]}]},
        task("bird", "skipped.png", was_cancelled=True),
        {"data": {"file": "d.png"}, "annotations": []},
        {"data": {"file": "e.png"}, "annotations": [{"result": [{"type": "rectanglelabels", "value": {}}]}]},
    ]
    assert read_labels(written(tmp_path, tasks)) == {"a b.jpg": "cat", "sea/c.png": "dog"}


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/data/local-files/?d=photos/a%20b.jpg", "photos/a b.jpg"),
        ("https://host/photos/a%20b.jpg?token=1", "/photos/a b.jpg"),
        ("s3://bucket/photos/a%20b.jpg", "/photos/a b.jpg"),
        ("photos/a%20b.jpg", "photos/a%20b.jpg"),
    ],
)
def test_the_address_of_an_image_is_its_name_if_no_other_is_known(tmp_path, address, path):
    tasks = [task("cat") | {"data": {"image": address}}]
    assert read_labels(written(tmp_path, tasks)) == {path: "cat"}


def test_the_choices_called_label_are_the_classes(tmp_path):
    both = task("cat")
    other = json.loads(json.dumps(both).replace('"label"', '"quality"').replace("cat", "blurred"))
    both["annotations"] += other["annotations"]
    assert read_labels(written(tmp_path, [both])) == {"a b.jpg": "cat"}
    assert read_labels(written(tmp_path, [other])) == {"a b.jpg": "blurred"}
    third = json.loads(json.dumps(other).replace('"quality"', '"season"'))
    assert "has choices of 2 controls (quality, season), and which" in line(
        lambda: read_labels(written(tmp_path, [other, third]))
    )


def test_labels_of_cvat(tmp_path):
    text = (
        '<?xml version="1.0"?><annotations><version>1.1</version><meta><task><labels><label><name>x</name>'
        '</label></labels></task></meta><image id="0" name="a b.jpg" width="8" height="8"><tag label="cat" '
        'source="manual"><attribute name="why">&lt;3</attribute></tag><tag label="dog" source="auto"/>'
        '<box label="bird" xtl="0"/></image><image id="1" name="&#233;.png"><tag label=" dog "/></image>'
        '<image id="2" name="d.png"></image></annotations>'
    )
    assert read_labels(written(tmp_path, text, "annotations.xml")) == {"a b.jpg": "cat", "\xe9.png": "dog"}


def test_labels_of_fiftyone(tmp_path):
    cat = {"_id": {"$oid": "1"}, "_cls": "Classification", "label": "cat"}
    samples = [
        {"filepath": "/x/photos/a b.jpg", "ground_truth": cat, "pseudo_label": {**cat, "label": "dog"}},
        {"filepath": "data/1.png", "file": "sea/c.png", "ground_truth": cat},
        {"filepath": "/x/photos/d.png", "ground_truth": None, "pseudo_label": cat},
    ]
    found = read_labels(written(tmp_path, {"samples": samples}, "samples.json"))
    assert found == {"/x/photos/a b.jpg": "cat", "sea/c.png": "cat"}


@pytest.mark.parametrize(
    ("addresses", "folder"),
    [
        (["a b.jpg", "sea/c.png"], ""),
        (["/x/photos/a b.jpg", "/x/photos/sea/c.png"], "/x/photos/"),
        (["photos/a b.jpg"], "photos/"),
        (["photos/sea/c.png"], "photos/"),
        (["photos/a b.jpg", "sea/c.png"], ""),  # one folder stands before all, or none
        (["photos/e.png"], ""),
        (["sea/d.png"], "sea/"),
        ([], ""),
    ],
)
def test_the_folder_before_all_addresses_is_found(addresses, folder):
    assert annotations.common_folder(addresses, FILES) == folder


def test_an_address_that_may_be_two_images_is_neither():
    assert annotations.common_folder(["x/sea/d.png"], ["d.png", "sea/d.png"]) == ""


DOCTYPE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
LAUGHS = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]>'
IMAGE = '<annotations><image id="0" name="a b.jpg">{}</image></annotations>'
BOTH = "says of a b.jpg both 'cat' and 'dog'; keep one of the two"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", [task("cat"), task("dog")], BOTH),
        ("a.json", [task("cat\ndog")], "has a label of several lines in task 1"),
        (
            "a.json",
            [{"id": 1, "image": "x", "label": "cat"}],
            "is no JSON export of Label Studio (JSON-MIN is",
        ),
        (
            "a.json",
            [{"data": {}, "annotations": [{"result": [{"type": 5}]}]}],
            "0.annotations.0.result.0.type:",
        ),
        ("a.json", [task("cat") | {"data": {"text": "x"}}], "names no image in task 1: its data needs"),
        ("a.json", [task(["cat"])], "has the choices [['cat']] in task 1, expected one class"),
        (
            "a.json",
            {"cat": 1},
            "is neither a JSON export of Label Studio nor samples.json of FiftyOne: samples",
        ),
        ("a.json", {"samples": [{"file": "a"}]}, "samples.0.filepath: Field required"),
        (
            "a.json",
            {"samples": [{"filepath": "a", "ground_truth": {"label": 3}}]},
            "should be a valid string",
        ),
        ("a.json", "[" * 100_000, "recursion limit"),
        ("a.json", "", "the file: Invalid JSON"),
        ("a.xml", DOCTYPE + IMAGE.format('<tag label="&x;"/>'), "declares a document type in line 1, and no"),
        ("a.xml", LAUGHS + IMAGE.format('<tag label="&y;"/>'), "declares a document type in line 1, and no"),
        ("a.xml", IMAGE.format('<tag label="&x;"/>'), "is no XML (undefined entity: line 1"),
        ("a.xml", IMAGE.format("<tag/>"), "has an element 'tag' without 'label' in line 1"),
        ("a.xml", IMAGE.replace("name", "names"), "has an element 'image' without 'name' in line 1"),
        ("a.xml", IMAGE.format('<tag label="cat"/><tag label="dog"/>'), BOTH),
        ("a.xml", IMAGE[:-3], "is no XML ("),
        ("a.xml", '<?xml version="1.0" encoding="none"?><a/>', "is no XML (unknown encoding"),
        ("a.xml", "<annotations><track/></annotations>", "lists no image; export it from CVAT as CVAT for"),
        ("a.xml", "", "is no XML (no element found"),
    ],
)
def test_an_export_that_cannot_be_read_is_one_line(tmp_path, name, content, message):
    path = written(tmp_path, content, name)
    told = line(lambda: read_labels(path))
    assert told.startswith(str(path)) and message in told


@pytest.mark.parametrize("name", ["gone.json", "gone.xml"])
def test_an_export_that_is_not_there(tmp_path, name):
    assert line(lambda: read_labels(tmp_path / name)).startswith("cannot read ")


def test_an_export_of_other_photos_is_one_line(photos, tmp_path):
    path = written(tmp_path, [task("cat", "other/x.png")])
    assert "lists 1 file(s) that are no images in" in line(lambda: labels_of(path, scan(photos), photos))


# There and back


def accepted(target, text):
    """Return the file of a target after a person accepted all guesses there."""
    if target == "cvat":
        return text.replace('"auto"', '"semi-auto"')
    if target == "label-studio":
        return text.replace("predictions", "annotations")
    samples = json.loads(text)["samples"]
    for sample in samples:
        sample["ground_truth"] = sample["ground_truth"] or sample["pseudo_label"]
    return json.dumps({"samples": samples})


def exported(target, text):
    """Return the file as the target exports it: Label Studio gives every task a list of annotations."""
    if target != "label-studio":
        return text
    return json.dumps([{"annotations": []} | task for task in json.loads(text)])


@pytest.mark.parametrize(
    ("target", "file"),
    [("label-studio", "tasks.json"), ("cvat", "annotations.xml"), ("fiftyone", "samples.json")],
)
def test_a_round_trip_needs_no_script(to, photos, tmp_path, target, file):
    text = to(target)[file]
    guesses = {"sea/c.png": "dog & co"} | ({"d.png": "cat"} if target == "fiftyone" else {})
    for content, found in ((text, {}), (accepted(target, text), guesses)):
        path = written(tmp_path, exported(target, content), file)
        assert labels_of(path, scan(photos), photos) == {"a b.jpg": "cat"} | found


@pytest.fixture
def many(tmp_path):
    """60 photos, of which 12 have a label."""
    truth = write_photos(tmp_path / "many")
    yield {
        "folder": tmp_path / "many",
        "known": write_labels(tmp_path / "known.csv", dict([*truth.items()][::5])),
    }
    context.load_split.cache_clear()


def test_prune_takes_an_export_for_a_csv_and_convert_knows_the_folder_of_prune(many, tmp_path):
    places = {"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0}
    options = {"budget": 20, "method": "random", "side": 8, **places}
    pruned = prune(**many, **options)
    pruned.to_csv(tmp_path / "kept.csv")
    convert(tmp_path / "kept.csv", "cvat", tmp_path / "cvat", prefix="share/", store=tmp_path / "store")
    again = prune(many["folder"], tmp_path / "cvat/annotations.xml", **options)
    assert again.text == pruned.text
    assert convert(tmp_path / "kept.csv", "links", tmp_path / "links", store=tmp_path / "store")[0]


# As the programs' own code reads it, where it is installed


def test_label_studio_accepts_its_files(to):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    files = to("label-studio")
    setup = interface.LabelInterface(files["labels.xml"])
    setup.validate()
    tasks = json.loads(files["tasks.json"])
    assert setup.validate_annotation(tasks[0]["annotations"][0])
    assert setup.validate_prediction(tasks[1]["predictions"][0])


def test_label_studio_exports_what_prune_reads(to, photos, tmp_path):
    """Its server keeps a file for each task, from which its converter makes the export."""
    converter = pytest.importorskip("label_studio_sdk.converter")
    files = to("label-studio")
    (tmp_path / "tasks").mkdir()
    for number, task in enumerate(json.loads(accepted("label-studio", files["tasks.json"]))):
        written(tmp_path, task | {"id": number}, f"tasks/{number}.json")
    made = converter.Converter(files["labels.xml"], str(tmp_path), download_resources=False)
    classes = {"a b.jpg": "cat", "sea/c.png": "dog & co"}
    made.convert_to_json(str(tmp_path / "tasks"), str(tmp_path / "export"))
    assert labels_of(tmp_path / "export/result.json", scan(photos), photos) == classes
    made.convert_to_json_min(str(tmp_path / "tasks"), str(tmp_path / "min"))
    as_it_reads = json.loads((tmp_path / "min/result.json").read_text())
    assert {task["file"]: task["label"] for task in as_it_reads} == classes


def test_datumaro_reads_what_cvat_gets(to, photos, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    to("cvat")
    (tmp_path / "both").mkdir()
    shutil.copy(tmp_path / "cvat-kept/annotations.xml", tmp_path / "both")
    shutil.copytree(photos, tmp_path / "both/images")
    found = {
        item.id: item.annotations for item in datumaro.Dataset.import_from(str(tmp_path / "both"), "cvat")
    }
    assert {name: [tag.label for tag in tags] for name, tags in found.items()} == {"a b": [0], "sea/c": [1]}


def test_datumaro_writes_for_cvat_what_prune_reads(photos, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    classes = {"a b.jpg": "cat", "sea/c.png": "dog & co"}
    names = [*classes.values()]
    media = pytest.importorskip("datumaro.components.media")
    tag = pytest.importorskip("datumaro.components.annotation").Label
    items = [
        datumaro.DatasetItem(
            id=name.rpartition(".")[0],
            media=media.Image.from_file(str(photos / name)),
            annotations=[tag(names.index(label))],
        )
        for name, label in classes.items()
    ]
    datumaro.Dataset.from_iterable(items, categories=names).export(str(tmp_path / "made"), "cvat")
    (path,) = (tmp_path / "made").rglob("*.xml")
    assert labels_of(path, scan(photos), photos) == classes


def test_fiftyone_reads_its_files(to, tmp_path):
    importers = pytest.importorskip("fiftyone.utils.data.importers", exc_type=ImportError)
    to("fiftyone")
    importer = importers.FiftyOneDatasetImporter(str(tmp_path / "fiftyone-kept"))
    assert importer._is_legacy_format_data()
    importer = importer._to_legacy_importer()
    importer.setup()
    samples = {Path(sample.filepath).name: sample for sample in importer}
    assert samples["a b.jpg"].ground_truth.label == "cat" and samples["a b.jpg"].tags == ["keep_labeled"]
    assert samples["c.png"].pseudo_label.confidence == 0.75 and samples["c.png"].score == -1


def test_fiftyone_exports_what_prune_reads(to, photos, tmp_path):
    """A person corrects the guess of one photo. No database is needed up to here."""
    importers = pytest.importorskip("fiftyone.utils.data.importers", exc_type=ImportError)
    exporters = pytest.importorskip("fiftyone.utils.data.exporters", exc_type=ImportError)
    labels = pytest.importorskip("fiftyone.core.labels", exc_type=ImportError)
    to("fiftyone")
    importer = importers.FiftyOneDatasetImporter(str(tmp_path / "fiftyone-kept"))._to_legacy_importer()
    importer.setup()
    exporter = exporters.LegacyFiftyOneDatasetExporter(str(tmp_path / "export"), export_media=False)
    exporter.setup()
    for sample in importer:
        if sample.file == "sea/c.png":
            sample.ground_truth = labels.Classification(label="bird")
        exporter.export_sample(sample)
    exporter.close()
    exported_labels = labels_of(tmp_path / "export/samples.json", scan(photos), photos)
    assert exported_labels == {"a b.jpg": "cat", "sea/c.png": "bird"}


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_datasets_reads_links_and_tables(to, photos, tmp_path):
    datasets = pytest.importorskip("datasets")
    cache = {"cache_dir": str(tmp_path / "cache"), "split": "train"}
    (tmp_path / "flat.csv").write_text("file,label\na b.jpg,cat\nd.png,dog\n")
    to("links", "flat.csv")
    folder = str(tmp_path / "links-flat.csv/keep_labeled")
    training = datasets.load_dataset("imagefolder", data_dir=folder, **cache)
    assert (training.features["label"].names, training["label"][:]) == (["cat", "dog"], [0, 1])
    convert(tmp_path / "kept.csv", "parquet", tmp_path / "kept.parquet", folder=photos)
    table = datasets.load_dataset("parquet", data_files=str(tmp_path / "kept.parquet"), **cache)
    assert table["file"][:] == [*FILES] and table["score"][:] == [0.5, None, -1.0]
    kept = table.select([row for row, status in enumerate(table["status"]) if status != "drop"])
    assert kept["file"][:] == ["a b.jpg", "sea/c.png"]
