"""Captions by a vision model behind any endpoint that speaks OpenAI's chat completions, which the user names.

A picture is asked about once: what came back is kept in a folder by the digest of model, prompt and picture, so a call
that was killed goes on where it stopped, and asking again costs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamfx.errors import ConfigError
from streamfx.patience import outlast
from streamfx.terminal import ProgressBar
from streamfx.train.face_qa.captions import SENTENCE
from streamfx.train.face_qa.leak import names_held_out
from streamfx.whole_files import write_whole

PROMPT = (
    "Describe the face in this picture in two to four plain sentences: the expression, what the muscles of the face do, "
    "the hair, any beard or make-up, how the head is turned, and the light. Say only what can be seen. Do not guess who "
    "it is, and say nothing about ethnicity, nationality, religion, health, sexual orientation or attractiveness."
)
TOKENS_OF_PICTURE, TOKENS_OF_ANSWER = 85, 160
"""Tokens that a picture costs at the detail that is asked for (`low`, as OpenAI counts it), and that an answer may have."""
AT_ONCE, TIMEOUT_S, RETRY_S = 4, 120.0, 300.0
"""Requests at a time; seconds until one is given up; seconds for which a failing one is repeated."""
_NEVER = re.compile(
    r"\b(?:ethnic\w*|race|racial|asian|african|black (?:man|woman|person|male|female)|white (?:man|woman|person|male|"
    r"female)|caucasian|hispanic|latin[oax]|arab\w*|indian|chinese|japanese|european|american|jewish|muslim|christian|"
    r"hindu|sikh|religio\w*|gay|lesbian|homosexual|bisexual|trans(?:gender)?|disab\w*|ill|illness|sick|disease|autis\w*|"
    r"down syndrome|pregnan\w*|attractive|beautiful|handsome|ugly|pretty|celebrity|actor|actress|politician|lying|liar)\b",
    re.IGNORECASE,
)


class _Passing(Exception):
    """The endpoint fails in a way that may pass."""


@dataclass(frozen=True)
class Estimate:
    """What asking would cost: `pictures` not asked about yet of `all_pictures` that differ, and tokens for them, roughly."""

    pictures: int
    all_pictures: int

    @property
    def tokens_in(self) -> int:
        """Tokens sent: four letters of the prompt each, and the picture."""
        return self.pictures * (len(PROMPT) // 4 + TOKENS_OF_PICTURE)

    @property
    def tokens_out(self) -> int:
        """Tokens that come back at most."""
        return self.pictures * TOKENS_OF_ANSWER

    def __str__(self) -> str:
        return (
            f"{self.pictures:,} pictures to ask about ({self.all_pictures - self.pictures:,} of {self.all_pictures:,} are "
            f"in the cache): about {self.tokens_in:,} tokens in, at most {self.tokens_out:,} out; what they cost, the "
            "endpoint's owner says"
        )


class Captioner:
    """Asks a model for captions of pictures; `url` is the base of the API, such as `http://127.0.0.1:8000/v1`.

    ConfigError for a URL that is none, and for a key that would travel without encryption to another machine.
    """

    def __init__(self, url: str, model: str, key: str | None, cache: Path, retry_s: float = RETRY_S):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ConfigError(
                f"--captions-from: expected the base of an API, such as https://HOST/v1, without a key in it, got "
                f"{parts.scheme}://{parts.hostname or ''}"
            )
        if key and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigError(
                f"--captions-from: expected https:// for {parts.hostname}: a key must not travel unencrypted"
            )
        self._url = url.rstrip("/") + "/chat/completions"
        self._shown = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/chat/completions"
        self._model, self._key, self._cache, self._retry_s = model, key, cache, retry_s
        self._ended = threading.Event()
        self._open = urllib.request.build_opener(_NoRedirect).open

    def estimate(self, pictures: Callable[[int], bytes], count: int) -> Estimate:
        """What it would cost to ask about `count` pictures, files of JPEG or PNG; nothing is sent."""
        with ProgressBar(" pictures", count, title="looking into the cache") as bar:
            different = {self._file(pictures(number)) for number in bar.over(range(count))}
        return Estimate(sum(not file.exists() for file in different), len(different))

    def captions(self, pictures: Callable[[int], bytes], count: int) -> list[str]:
        """A caption of each picture, "" where nothing is left of one by `fit`. ConfigError where the endpoint refuses, or
        fails for longer than the time for retries; what came back until then stays in the cache."""
        files = [self._file(pictures(number)) for number in range(count)]
        different = {file: number for number, file in enumerate(files)}
        with ProgressBar(" captions", len(different), title="asking") as bar, ThreadPoolExecutor(AT_ONCE) as pool:

            def one(file: Path, number: int) -> str:
                text = self._caption(file, lambda: pictures(number))
                bar.update()
                return fit(text)

            jobs = {file: pool.submit(one, file, number) for file, number in different.items()}
            try:
                return [jobs[file].result() for file in files]
            except BaseException:
                self._ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _caption(self, file: Path, picture: Callable[[], bytes]) -> str:
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))["caption"]
            if isinstance(kept, str):
                return kept
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there yet, or half of it: ask (again)
        try:
            shown = picture()
            text = outlast(lambda: self._ask(shown), _Passing, self._retry_s, self._pause)
        except _Passing as error:
            raise ConfigError(
                f"{self._shown}: {error}, for {self._retry_s:.0f} s; the captions so far are kept: give the command again "
                "later"
            ) from error
        write_whole(file, json.dumps({"caption": text, "model": self._model}) + "\n")
        return text

    def _pause(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise ConfigError(f"{self._shown}: the other requests ended")

    def _file(self, picture: bytes) -> Path:
        parts = (self._model.encode(), PROMPT.encode(), hashlib.sha256(picture).digest())
        digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
        return self._cache / digest[:2] / f"{digest}.json"

    def _ask(self, picture: bytes) -> str:
        kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
        image = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
        content = [
            {"type": "text", "text": PROMPT},
            {"type": "image_url", "image_url": {"url": image, "detail": "low"}},
        ]
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": TOKENS_OF_ANSWER,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                return _text_of(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 429 or error.code >= 500:
                raise _Passing(f"it answers with status {error.code}") from error
            raise ConfigError(
                f"{self._shown}: expected a caption, got status {error.code} ({error.reason}); check the URL, the model "
                f"{self._model} and the key"
            ) from None  # the request with the key is part of the error
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"it cannot be reached ({type(error).__name__})") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _Passing("it answers, but not with a chat completion") from error


def fit(caption: str) -> str:
    """The caption on one line, without sentences that name a held-out attribute, or what is never told of a person."""
    text = " ".join(caption.split())
    kept = [one.strip() for one in SENTENCE.findall(text) if not names_held_out(one) and not _NEVER.search(one)]
    return " ".join(kept)


def _text_of(answer: Any) -> str:
    text = answer["choices"][0]["message"]["content"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no text")
    return text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, since the key would go along to wherever it leads."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
