// Plays redacted films beside the charts, one file after the other, with the rows as captions.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const views = data.views.map((view) => (view.kind === "all" ? null : view.name.split("/")[0]));
  const part = (name) => document.getElementById(`film-${name}`);
  const video = part("video");
  const chooser = part("stream");
  const view = document.getElementById("view");
  // A page from disk may not read a file of captions, so they are in the page.
  const tracks = { false: video.addTextTrack("captions", "Expressions", "en"), true: video.addTextTrack("captions", "Action units", "en") };
  tracks.false.mode = "showing";
  tracks.true.mode = "hidden";
  let stream = null;
  let at = 0;

  const now = () => stream.zero + stream.films[at][0] / 1000 + video.currentTime;
  const words = (cues) => {
    const faces = new Map();
    for (const [, , face, what] of [...cues].sort((one, other) => one[4] - other[4])) faces.set(face, [...(faces.get(face) ?? []), what]);
    return [...faces].sort((one, other) => one[0] - other[0]).map(([face, whats]) => `face ${face}: ${whats.join(", ")}`);
  };
  const during = (from, to) => stream.cues.filter((cue) => cue[1] > from && cue[0] < to);

  function open(number, seconds = 0, play = !video.paused && !video.ended) {
    at = number;
    const [from, to, file] = stream.films[at];
    for (const track of Object.values(tracks)) for (const cue of [...(track.cues ?? [])]) track.removeCue(cue);
    for (const cue of during(from, to)) {
      const [since, until] = [Math.max(0, cue[0] - from) / 1000, (Math.min(to, cue[1]) - from) / 1000];
      tracks[cue[4]].addCue(new VTTCue(since, until, words([cue])[0]));
    }
    video.addEventListener("loadedmetadata", () => {
      video.currentTime = Math.min(seconds, Math.max(0, video.duration - 0.001));
      if (play) video.play().catch(() => {});
    }, { once: true });
    video.src = file;
    video.setAttribute("aria-label", `Redacted film of stream ${stream.stream}`);
    part("before").disabled = at === 0;
    part("after").disabled = at === stream.films.length - 1;
    show(stream.zero + from / 1000 + seconds);
  }

  function show(seconds) {
    const ms = (seconds - stream.zero) * 1000;
    const time = new Date(seconds * 1000).toISOString().slice(0, 21).replace("T", " ");
    part("time").textContent = `${time} UTC, film ${at + 1} of ${stream.films.length}`;
    const lines = words(during(ms, ms + 1));
    part("rows").replaceChildren(...(lines.length ? lines : ["no row tells anything of this moment"]).map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
    document.dispatchEvent(new CustomEvent("playing", { detail: seconds }));
  }

  // The film of this moment, or else the next one, or the last.
  function seek(seconds) {
    const ms = (seconds - stream.zero) * 1000;
    const found = stream.films.findIndex((film) => film[1] > ms);
    const number = found < 0 ? stream.films.length - 1 : found;
    const [from, to] = stream.films[number];
    const into = Math.max(0, Math.min(ms, to) - from) / 1000;
    if (number === at && video.readyState > 0) video.currentTime = into;
    else open(number, into);
  }

  function choose(number) {
    stream = data.films[number];
    chooser.value = String(number);
    open(0);
  }

  chooser.addEventListener("change", () => {
    choose(Number(chooser.value));
    const own = data.views.findIndex((one) => one.kind === "stream" && one.name === stream.stream);
    if (own < 0) return;
    view.value = String(own);
    view.dispatchEvent(new Event("change"));
  });
  view.addEventListener("change", () => {
    const number = data.films.findIndex((one) => one.stream === views[Number(view.value)]);
    if (number >= 0 && data.films[number] !== stream) choose(number);
    else show(now());
  });
  document.addEventListener("moment", (event) => seek(event.detail));
  for (const name of ["timeupdate", "seeked"]) video.addEventListener(name, () => show(now()));
  // Chromium leaves captions of the moment before on the picture, until their track is shown anew.
  video.addEventListener("seeked", () => {
    for (const track of Object.values(tracks).filter((one) => one.mode === "showing")) {
      track.mode = "hidden";
      track.mode = "showing";
    }
  });
  video.addEventListener("ended", () => at + 1 < stream.films.length && open(at + 1, 0, true));
  video.addEventListener("error", () => {
    part("time").setAttribute("aria-live", "polite");
    part("time").textContent = `${decodeURI(stream.films[at][2])} cannot be played: keep the folder of films beside this page, and open it in a browser that plays H.264.`;
  });
  part("before").addEventListener("click", () => open(at - 1));
  part("after").addEventListener("click", () => open(at + 1));
  part("pin").addEventListener("click", () => {
    const pinned = document.getElementById("film").classList.toggle("pinned");
    part("pin").setAttribute("aria-pressed", String(pinned));
  });
  choose(0);
})();
