"""A report is one page that holds all it shows, tells what the runs hold, and does nothing else."""

import contextlib
import csv
import io
import itertools
import json
import os
import re
import subprocess
import sys

import pytest
from html_pages import Page
from run_folders import HOSTILE, OPTIONS, TWO_SEEDS, entry, epoch, make_compare, make_train

from saner_jax.cli import main
from saner_jax.reports import COLORS, write_report
from saner_jax.reports import _html_figures as html_pictures


@pytest.fixture
def page_of(tmp_path):
    def read(*folders):
        output_file = tmp_path / f"page-{len(list(tmp_path.iterdir()))}.html"
        assert write_report(folders, output_file) == output_file
        return Page(output_file.read_text("utf-8"))

    return read


@pytest.fixture
def many(tmp_path):
    """Make one run of every kind, with a hostile one among them."""
    hostile = {**OPTIONS, "dataset": f"/{HOSTILE}/{HOSTILE}.npz", "note": HOSTILE, HOSTILE: HOSTILE}
    names = f"{HOSTILE}\0\ud800", "<img src=x onerror=alert(2)>"
    runs = [
        make_compare(tmp_path / "two", TWO_SEEDS),
        make_train(tmp_path / "killed", [epoch(1), epoch(2)]),
        make_compare(
            tmp_path / HOSTILE.replace("/", "|"),
            {names[0]: TWO_SEEDS["sgd"], names[1]: TWO_SEEDS["sam"]},
            options=hostile,
            command=HOSTILE,
            complete=False,
        ),
    ]
    (runs[2] / "suspects.csv").write_text(f"rank,{names[1]}\n1,{names[1]}\n")
    return runs


@pytest.mark.slow
def test_a_page_is_nested_and_holds_all_that_it_shows(page_of, many):
    page = page_of(*many)
    assert page.tags[:5] == ["html", "head", "meta", "meta", "meta"]
    assert {"title", "header", "main", "section", "h1", "footer"} <= set(page.tags)
    assert page.tags.count("h1") == 1
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    assert not re.search(r"url\(|@import|//|<", page.style)
    assert "break-inside: avoid" in page.style
    assert len(page.images) == 4  # three pairs of curves and one of shares
    assert page.targets == ["run-1", "run-2", "run-3"]


@pytest.mark.slow
def test_a_page_says_its_language_letters_and_that_nothing_may_be_loaded(tmp_path, many):
    write_report(many, tmp_path / "page.html")
    head = (tmp_path / "page.html").read_text("utf-8").split("<style>")[0]
    assert head.startswith('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n')
    assert 'name="viewport"' in head
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in head


@pytest.mark.slow
def test_hostile_text_is_shown_as_text(page_of, many):
    page = page_of(many[2])
    # The control character and the half of a pair have no place in a page.
    assert page.row(f"{HOSTILE}\ufffd\ufffd")[0] == "60.0 ± 14.1"
    assert page.row("<img src=x onerror=alert(2)> (diverged in 1 of 2)")
    assert page.row("command") == (HOSTILE,)
    assert f"/{HOSTILE}/{HOSTILE}.npz" in page.text
    assert page.tables[1][1] == ["1", "<img src=x onerror=alert(2)>"]
    assert HOSTILE in page.images[0][0]


def test_a_table_holds_mean_and_deviation_in_percent(page_of, tmp_path):
    page = page_of(make_compare(tmp_path / "two", TWO_SEEDS))
    head = ("method", "test accuracy last\u00a0%", "memorized\u00a0%", "n", "seconds")
    assert tuple(page.tables[0][0]) == head
    assert page.row("sgd") == ("60.0 ± 14.1", "25.0 ± 0.0", "2", "1.0")
    assert page.row("sam (diverged in 1 of 2)") == ("–", "–", "2", "1.0")
    assert page.row("versions") == ("jax 0.10.2",)
    assert page.row("git commit") == ("8fa2f01",)
    assert "digits, 1,437 training examples with 39.0% symmetric label noise" in page.text
    assert "sgd and sam with mlp, 3 epochs, 2 seeds." in page.text
    assert "not finished" not in page.text


def test_one_seed_has_no_deviation(page_of, tmp_path):
    methods = {
        "saner": entry({"test_accuracy_last": [0.5], "test_accuracy_chosen": [0.25]}, seeds=1)
    }
    page = page_of(make_compare(tmp_path / "one", methods, seeds=1))
    assert page.row("saner") == ("50.0", "25.0", "1", "1.0")
    assert page.images == []


@pytest.mark.slow
def test_an_unfinished_comparison_says_what_is_missing(page_of, tmp_path):
    folder = make_compare(tmp_path / "half", TWO_SEEDS, complete=False)
    options = json.loads((folder / "config.json").read_text())
    methods = ["sgd", "sam", "asam", "saner"]
    (folder / "config.json").write_text(json.dumps({**options, "methods": methods}))
    page = page_of(folder)
    assert "This run has not finished: no numbers of asam and saner are kept." in page.text
    (folder / "results.json").unlink()
    page = page_of(folder, folder)
    assert "it has no results.json. Made from config.json." in page.text
    assert page.tables[0][2][0] == "no numbers yet"


@pytest.mark.slow
def test_a_killed_run_is_told_from_its_log(page_of, tmp_path):
    folder = make_train(
        tmp_path / "killed", [epoch(3), epoch(1), {"epoch": 3, "step": 30}, epoch(2)]
    )
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 5, "test_acc')
    page = page_of(folder)
    assert "Made from config.json and metrics.jsonl, after 4 of 3 epochs." in page.text
    assert page.row("saner") == ("20.0", "30.0", "1.0", "90.0", "1", "–")
    assert "digits, 40.0% symmetric label noise: saner with mlp, 3 epochs, 1 seed." in page.text
    (folder / "metrics.jsonl").unlink()
    page = page_of(folder)
    assert "after 0 of 3 epochs" in page.text
    assert page.images == []


@pytest.mark.parametrize(
    ("noise", "rate", "words"),
    [
        ("human:worse", 0.4, "human:worse label noise"),
        ("file", 0.4, "corrected labels"),
        ("none", 0.0, "labels as they are"),
        ("symmetric", None, "symmetric label noise"),
    ],
)
def test_noise_without_a_rate_of_its_own_is_told_without(page_of, tmp_path, noise, rate, words):
    page = page_of(make_train(tmp_path / "killed", [], noise=noise, rate=rate))
    assert f"digits, {words}: saner" in page.text


def test_a_log_without_shares_has_no_picture_of_them(page_of, tmp_path):
    rows = [{"epoch": 1, "step": 1, "test_accuracy": 0.5, "loss": 1.0}]
    rows.append({"epoch": 2, "step": 2, "test_accuracy": None})
    page = page_of(make_train(tmp_path / "sgd", rows, method="sgd"))
    assert [alt[:13] for alt, _ in page.images] == ["Test accuracy"]
    assert page.row("sgd") == ("–", "50.0", "1", "–")


def test_methods_beyond_the_colors_are_in_the_picture(page_of, tmp_path):
    names = [f"m{k}" for k in range(len(COLORS) + 1)]
    methods = {name: entry({}, {"test_accuracy": [[0.5, 0.6]]}, seeds=1) for name in names}
    page = page_of(make_compare(tmp_path / "all", methods, seeds=1))
    start = "Test accuracy and share of wrong labels memorized over epochs, a line per method: "
    assert [alt for alt, _ in page.images] == [f"{start}{', '.join(names)}."]


@pytest.mark.slow
def test_suspects_are_tabled_by_their_own_columns(page_of, tmp_path):
    folder = make_train(tmp_path / "run", [])
    with (folder / "suspects.csv").open("w", newline="") as file:
        write = csv.writer(file).writerow
        names = ["given_name", "suggested_name", "score", "margin", "decision", "hash"]
        write(["rank", "key", *names])
        write([1, 'a,"b".png', "nan", "1.50", "0.98765432", "", "", "aa"])
        for rank in range(2, 61):
            write([rank, rank, "cat", "dog", "nan", -3, "later" if rank > 50 else "", "bb"])
    sheet = html_pictures.draw_groups([epoch(1)]).png
    (folder / "suspects.png").write_bytes(sheet)
    page = page_of(folder)
    table = next(table for table in page.tables if table[0][0] == "rank")
    assert table[0][2:] == ["given name", "suggested name", "score", "margin"]
    assert table[1] == ["1", 'a,"b".png', "nan", "1.50", "0.9877", "–"]
    assert table[-1] == ["50", "50", "cat", "dog", "–", "-3"]
    assert "by how wrong their label looks: first 50 of 60." in page.text
    ((alt, _),) = page.images
    assert alt == "Images of the first suspects, in order of rank."


def test_runs_are_put_side_by_side(page_of, tmp_path):
    other = {"saner": entry({"clean_fit": [0.99, 0.97]})}
    runs = make_compare(tmp_path / "a", TWO_SEEDS), make_compare(tmp_path / "b", other)
    table = page_of(*runs).tables[0]
    # A title, and a row per method, for each run.
    assert [row[0].split(":")[0] for row in table[1:]] == [
        *("a", "sgd", "sam (diverged in 1 of 2)"),
        *("b", "saner"),
    ]
    assert table[0][1:4] == ["test accuracy last\u00a0%", "memorized\u00a0%", "clean fit\u00a0%"]
    assert table[2][1:4] == ["60.0 ± 14.1", "25.0 ± 0.0", "–"]
    assert table[5][1:4] == ["–", "–", "98.0 ± 1.4"]


@pytest.mark.slow
def test_the_same_runs_make_the_same_page(tmp_path, many):
    pages = [write_report(many, tmp_path / name).read_bytes() for name in ("1.html", "2.html")]
    assert pages[0] == pages[1]


def test_what_lies_at_the_output_is_never_touched(tmp_path):
    folder = make_train(tmp_path / "run", [])
    file, link, missing = (tmp_path / name for name in ("file", "link", "missing/page.html"))
    file.write_text("mine")
    os.symlink(tmp_path / "nothing", link)
    for path in (file, link, folder):
        with pytest.raises(ValueError, match="exists, and is not overwritten"):
            write_report([folder], path)
    with pytest.raises(ValueError, match=r"'.*missing' is no folder"):
        write_report([folder], missing)
    with pytest.raises(ValueError, match="folders must name at least one run"):
        write_report([], missing)
    assert file.read_text() == "mine"
    assert not link.exists()


def test_a_report_lies_in_the_first_folder_unless_it_says_otherwise(tmp_path):
    first, second = (make_train(tmp_path / name, []) for name in ("first", "second"))
    assert write_report([first, second]) == first / "report.html"
    assert not (second / "report.html").exists()
    page = (first / "report.html").read_bytes()
    with pytest.raises(ValueError, match="exists, and is not overwritten"):
        write_report([first])
    assert (first / "report.html").read_bytes() == page


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = make_train(tmp_path / "run", [])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report([folder], tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_runs_as_the_commands_leave_them_are_told(tmp_path, monkeypatch, page_of):
    monkeypatch.chdir(tmp_path)
    small = ["--epochs", "2", "--hidden-widths", "8"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["train", *small, "--output-folder", "one"]) == 0
        assert main(["compare", *small, "--seeds", "2", "--output-folder", "many"]) == 0
        assert main(["suspects", "one"]) == 0
    one, compared = tmp_path / "one", tmp_path / "many"
    page = page_of(one, compared)
    assert len(page.images) == 4  # two pairs of curves, shares, and the sheet of suspects
    with (one / "suspects.csv").open() as file:
        suspects = list(csv.DictReader(file))
    table = next(table for table in page.tables if table[0][0] == "rank")
    filled = [name for name, value in suspects[0].items() if value and name != "hash"]
    assert table[0] == [name.replace("_", " ") for name in filled]
    assert [row[1] for row in table[1:]] == [row["key"] for row in suspects[:50]]
    assert "finished" not in page.text
    # The numbers that were printed, without dashes, deviations, seconds and n.
    for method in ("sgd", "sam"):
        (line,) = re.findall(rf"^ *{method} +(.*)$", out.getvalue(), re.MULTILINE)
        row = next(row for row in page.tables[0] if row[0] == method)
        assert " ".join(c for c in row[1:-2] if c != "–").split() == line.split()[:-1]
    (one / "results.json").unlink()
    killed, whole = page_of(one), page_of(compared)
    assert "after 2 of 2 epochs" in killed.text
    assert killed.tables[0][1][1] == next(row for row in page.tables[0] if row[0] == "saner")[1]
    assert whole.row("command") == (
        f"saner-jax compare {' '.join(small)} --seeds 2 --output-folder many",
    )


# Opens a page, prints it, and tells what was asked for and what was said.
BROWSE = """
import json, sys
from PySide6.QtCore import QTimer, QUrl
from PySide6.QtWebEngineCore import (
    QWebEnginePage, QWebEngineProfile, QWebEngineUrlRequestInterceptor
)
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication

seen = {"asked": [], "said": []}

class Watch(QWebEngineUrlRequestInterceptor):
    def interceptRequest(self, info):
        seen["asked"].append(info.requestUrl().scheme())

class Page(QWebEnginePage):
    def javaScriptConsoleMessage(self, level, message, line, source):
        seen["said"].append(message)
    def javaScriptAlert(self, origin, message):
        seen["said"].append(message)

LOOK = '''JSON.stringify({
    images: [...document.images].map(image => image.naturalWidth > 0),
    scripts: document.scripts.length,
    title: document.title,
    mode: document.compatMode,
    too_wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
})'''

app = QApplication(sys.argv[:1])
profile, watch = QWebEngineProfile(), Watch()
profile.setUrlRequestInterceptor(watch)
page, view = Page(profile), QWebEngineView()
view.setPage(page)
view.resize(400, 800)

def tell(text):
    seen.update(json.loads(text))
    page.printToPdf(sys.argv[2])

def look(loaded):
    seen["loaded"] = loaded
    page.runJavaScript(LOOK, 0, tell)

page.loadFinished.connect(look)
page.pdfPrintingFinished.connect(lambda path, printed: (seen.update(printed=printed), app.quit()))
QTimer.singleShot(60_000, app.quit)
view.load(QUrl.fromLocalFile(sys.argv[1]))
view.show()
app.exec()
print(json.dumps(seen), flush=True)
del view, page
"""


@pytest.mark.slow
def test_a_browser_shows_and_prints_a_page_and_asks_for_nothing_else(tmp_path, many):
    pytest.importorskip("PySide6.QtWebEngineCore", exc_type=ImportError)
    page, printed = write_report(many, tmp_path / "page.html"), tmp_path / "page.pdf"
    offscreen = {
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", BROWSE, page, printed],
        env={**os.environ, **offscreen},
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    seen = json.loads(done.stdout)
    # Chromium does not report data: addresses, but draws what they hold.
    assert set(seen["asked"]) <= {"file", "data"}
    assert seen["asked"].count("file") == 1
    assert seen["said"] == []
    assert (seen["loaded"], seen["printed"]) == (True, True)
    assert seen["images"] == [True] * 4
    assert seen["scripts"] == 0
    assert seen["mode"] == "CSS1Compat"
    assert seen["title"].startswith("saner-jax report: two, killed, <script>alert('1')<|script>")
    assert seen["too_wide"] is False
    assert printed.read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_a_folder_of_suspects_has_a_page(page_of, tmp_path, capsys):
    folder = tmp_path / "found"
    given = ["--dataset", "digits", "--num-train", "300", "--features", "pixels"]
    assert main(["suspects", *given, "--output-folder", str(folder)]) == 0
    page = page_of(folder)
    assert "300 labels, judged by discriminants of the features of other examples" in page.text
    assert "are more likely wrong than right" in page.text
    titles = [table[0][0] for table in page.tables]
    assert titles[:3] == ["ranking", "class, estimated", "rank"]
    assert len(page.tables[1]) == 11
    # Beside a run.
    page = page_of(folder, make_train(tmp_path / "run", []))
    assert page.text.count("Where the numbers come from") == 2
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "(config.json), and no suspects (suspects.json)" in capsys.readouterr().err
