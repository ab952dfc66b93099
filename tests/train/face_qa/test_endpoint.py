"""Captions by an endpoint: a real server on this machine answers, fails, and counts what it was asked."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.drawn_sets import write_drawn_set
from helpers.labelled_sets import write_utkface

from streamfx.cli.main import main
from streamfx.errors import ConfigError, ModelError, PrivacyRefusal
from streamfx.train.face_qa.build import Asking, Sources, make_questions
from streamfx.train.face_qa.endpoint import PROMPT, Captioner, Estimate, fit
from streamfx.train.face_qa.table import read_images, read_questions

KEY = "sk-secret-123"
SAID = "A woman smiles at the camera.\nShe wears a red hat. She looks Asian. The light is soft."


class Server(ThreadingHTTPServer):
    """Answers `statuses` in turn, then captions; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.text: Any = SAID
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append({"path": self.path, **body})
            self.server.keys.append(self.headers.get("Authorization"))
            status = self.server.statuses.pop(0) if self.server.statuses else 200
        answer = json.dumps({"choices": [{"message": {"content": self.server.text}}]}).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.serve_forever, daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    thread.join()


def captioner(server: Server, cache: Path, key: str | None = KEY, retry_s: float = 30.0) -> Captioner:
    return Captioner(server.url, "eyes-1", key, cache, retry_s)


PICTURES = [b"\xff\xd8 one", b"\x89PNG two", b"\xff\xd8 three"]


def test_pictures_are_sent_as_they_are_with_prompt_model_and_key(server: Server, tmp_path: Path) -> None:
    captioner(server, tmp_path).captions(PICTURES.__getitem__, 3)
    assert len(server.asked) == 3 and {*server.keys} == {f"Bearer {KEY}"}
    sent = set()
    for asked in server.asked:
        text, image = asked["messages"][0]["content"]
        assert asked["path"] == "/v1/chat/completions" and asked["model"] == "eyes-1" and text["text"] == PROMPT
        kind, _, data = image["image_url"]["url"].partition(";base64,")
        picture = base64.b64decode(data)
        assert kind == ("data:image/png" if picture.startswith(b"\x89PNG") else "data:image/jpeg")
        sent.add(picture)
    assert sent == {*PICTURES}


def test_what_names_a_held_out_attribute_or_what_is_never_told_is_cut_out(server: Server, tmp_path: Path) -> None:
    assert captioner(server, tmp_path).captions(PICTURES.__getitem__, 1) == [
        "A woman smiles at the camera. The light is soft."
    ]
    assert fit("He is an actor. He may be ill. Handsome") == ""


def test_a_picture_is_asked_about_once_by_whoever_asks(server: Server, tmp_path: Path) -> None:
    first = captioner(server, tmp_path).captions(PICTURES.__getitem__, 3)
    assert captioner(server, tmp_path).captions(PICTURES.__getitem__, 3) == first and len(server.asked) == 3
    assert captioner(server, tmp_path).estimate(PICTURES.__getitem__, 3).pictures == 0
    Captioner(server.url, "eyes-2", KEY, tmp_path).captions(PICTURES.__getitem__, 1)
    assert len(server.asked) == 4


def test_pictures_that_are_alike_are_asked_about_once(server: Server, tmp_path: Path) -> None:
    alike = [b"\xff\xd8 one"] * 40 + [b"\xff\xd8 two"]
    assert captioner(server, tmp_path).estimate(alike.__getitem__, 41).pictures == 2
    assert len(captioner(server, tmp_path).captions(alike.__getitem__, 41)) == 41
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.statuses = [status]
    assert captioner(server, tmp_path).captions(PICTURES.__getitem__, 1)[0].startswith("A woman")
    assert len(server.asked) == 2


def test_what_does_not_pass_is_named_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    captioner(server, tmp_path).captions(PICTURES.__getitem__, 1)
    server.statuses = [503] * 100
    with pytest.raises(ConfigError, match=r"status 503, for 0 s; the captions so far are kept: give the command again"):
        captioner(server, tmp_path, retry_s=0.2).captions(PICTURES.__getitem__, 3)
    server.statuses.clear()
    server.asked.clear()
    captioner(server, tmp_path).captions(PICTURES.__getitem__, 3)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_ends_it_at_once_without_a_word_of_the_key(server: Server, tmp_path: Path, status: int) -> None:
    server.statuses = [status] * 100
    with pytest.raises(ConfigError, match=f"expected a caption, got status {status}") as raised:
        captioner(server, tmp_path).captions(PICTURES.__getitem__, 1)
    assert len(server.asked) == 1
    seen, error = [], raised.value
    while error is not None:
        seen.append(str(error))
        error = error.__cause__  # type: ignore[assignment]
    assert KEY not in " ".join(seen)


def test_the_key_follows_no_redirect(server: Server, tmp_path: Path) -> None:
    server.statuses = [302]
    with pytest.raises(ConfigError, match="got status 302"):
        captioner(server, tmp_path).captions(PICTURES.__getitem__, 1)
    assert len(server.asked) == 1


@pytest.mark.parametrize("text", [None, "", 5])
def test_an_answer_without_text_is_no_caption(server: Server, tmp_path: Path, text: Any) -> None:
    server.text = text
    with pytest.raises(ConfigError, match="not with a chat completion"):
        captioner(server, tmp_path, retry_s=0.1).captions(PICTURES.__getitem__, 1)
    assert not [*tmp_path.rglob("*.json")]


def test_half_a_file_in_the_cache_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    captioner(server, tmp_path).captions(PICTURES.__getitem__, 1)
    [file] = tmp_path.rglob("*.json")
    file.write_text("{")
    captioner(server, tmp_path).captions(PICTURES.__getitem__, 1)
    assert len(server.asked) == 2


@pytest.mark.parametrize("url", ["ftp://a/v1", "nonsense", "http://user:sk-1@host/v1", "https://host/v1?key=sk-1"])
def test_what_is_no_url_of_an_api_is_named_without_the_key_in_it(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the base of an API") as raised:
        Captioner(url, "m", None, tmp_path)
    assert "sk-1" not in str(raised.value)


def test_a_key_does_not_travel_unencrypted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must not travel unencrypted"):
        Captioner("http://far.example/v1", "m", KEY, tmp_path)
    Captioner("http://far.example/v1", "m", None, tmp_path)


def test_nothing_is_asked_before_the_estimate_is_agreed_to(server: Server, tmp_path: Path) -> None:
    drawn = write_drawn_set(tmp_path / "set", seed=3, people=6, clips_each=1)
    shown: list[Estimate] = []
    asking = Asking(captioner(server, tmp_path / "cache"), "eyes-1", lambda one: bool(shown.append(one)))
    with pytest.raises(ConfigError, match="nothing was asked and nothing was written"):
        make_questions(Sources([drawn]), tmp_path / "out", 1, asking)
    assert not server.asked and not (tmp_path / "out").exists()
    assert shown[0].pictures > 0 and f"{shown[0].tokens_in:,} tokens in" in str(shown[0])


def test_captions_of_training_come_from_the_endpoint_and_the_key_is_written_nowhere(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.statuses = [429]
    sets = Sources(
        [write_drawn_set(tmp_path / "set", seed=3, people=8, clips_each=1, own_pictures=True)],
        test=[write_drawn_set(tmp_path / "other", seed=4, people=2, clips_each=1, own_pictures=True)],
    )
    asking = Asking(captioner(server, tmp_path / "cache"), "eyes-1", lambda _: True)
    make_questions(sets, tmp_path / "out", 1, asking)
    questions, images = read_questions(tmp_path / "out"), read_images(tmp_path / "out")
    told = questions[questions["task"] == "caption"]
    sexes = told.merge(images[["image_id", "fact_sex"]], on="image_id")[lambda rows: rows["split"] == "train"]
    women = sexes["fact_sex"] == "female"
    assert {*sexes.loc[women, "answer"]} <= {"A woman smiles at the camera. The light is soft."}
    assert all(text.startswith("The light is soft. ") and " man" in text for text in sexes.loc[~women, "answer"])
    assert women.any() and not women.all()
    assert not told.loc[told["split"] == "test", "answer"].str.startswith("A woman smiles").any()
    assert len(server.asked) == (images["split"] == "train").sum() + 1
    assert "eyes-1" in (tmp_path / "out" / "DATA_CARD.md").read_text()
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    printed = capsys.readouterr()
    assert KEY.encode() not in written and KEY not in caplog.text + printed.out + printed.err


def test_real_people_are_shown_to_no_endpoint_unless_the_user_may(server: Server, tmp_path: Path) -> None:
    root = write_utkface(tmp_path / "utkface")
    asking = Asking(captioner(server, tmp_path / "cache"), "eyes-1", lambda _: True)
    with pytest.raises(PrivacyRefusal, match="utkface show real people, whose pictures are not sent"):
        make_questions(Sources(labelled={"utkface": root}), tmp_path / "out", 1, asking)
    absent = Asking(asking.captioner, "eyes-1", lambda _: True, True, "nobody")
    with pytest.raises(ModelError, match="no model 'nobody'"):
        make_questions(Sources(labelled={"utkface": root}), tmp_path / "out", 1, absent)
    assert not server.asked and not (tmp_path / "out").exists()
    allowed = Asking(asking.captioner, "eyes-1", lambda _: True, True, "attributes-shared")
    make_questions(Sources(labelled={"utkface": root}), tmp_path / "out", 1, allowed)
    assert server.asked
    assert "what `attributes-shared` is sure to see" in (tmp_path / "out" / "DATA_CARD.md").read_text()


def test_the_command_shows_what_it_costs_and_asks_only_those_who_agree(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    drawn = write_drawn_set(tmp_path / "set", seed=3, people=2, clips_each=1)
    given = ["train", "face-qa", "--drawn", str(drawn), "--out", str(tmp_path / "out"), "--captions-from", server.url]
    given += ["--captions-model", "eyes-1", "--captions-key", "MY_KEY", "--json"]
    refused = CliRunner().invoke(main, given)
    assert refused.exit_code == 1 and "tokens in, at most" in refused.stderr and "nothing was asked" in refused.stderr
    assert not server.asked and not (tmp_path / "out").exists()
    made = CliRunner().invoke(main, [*given, "--yes"])
    assert made.exit_code == 0 and "tokens in, at most" in made.stderr
    told = json.loads(made.stdout)
    assert told["pictures"] == 8 and told["questions"] == sum(told["by_split"].values())
    assert server.asked and {*server.keys} == {f"Bearer {KEY}"} and KEY not in made.output
    again = CliRunner().invoke(main, [*given])
    assert again.exit_code == 0 and "0 pictures to ask about" in again.stderr


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--captions-from", "http://localhost"], "--captions-from and --captions-model go together"),
        (["--correct-by", "attributes-shared"], "--correct-by goes with --captions-from"),
    ],
    ids=["an endpoint without a model", "a correction without an endpoint"],
)
def test_options_that_go_together_are_not_given_alone(tmp_path: Path, given: list[str], why: str) -> None:
    answer = CliRunner().invoke(main, ["train", "face-qa", "--out", str(tmp_path), *given])
    assert answer.exit_code == 2 and why in answer.stderr
