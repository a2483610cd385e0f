"use strict";
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const the = id => document.getElementById(id);
const grid = the("takes"), cards = all(".card"), players = new Map();
const MAX_DRIFT = 0.12; // seconds between two videos
let current = cards[0], playing = null;

/** Plays the videos of one card. The last one leads, and the other follows. */
class Player {
  constructor(card) {
    this.card = card;
    this.videos = all("video", card);
    this.lead = this.videos.at(-1);
    this.followers = this.videos.slice(0, -1);
    for (const name of ["stage", "split", "seek", "clock", "play", "view", "broken"]) {
      this[name] = card.querySelector("." + name);
    }
    this.fresh = true; // it shows its poster, and plays from the start
    for (const video of this.videos) {
      video.addEventListener("error", () => this.fail(video));
      video.addEventListener("loadeddata", () => this.paint());
      video.addEventListener("waiting", () => this.running && this.pauseOthers(video));
      video.addEventListener("canplay", () => this.running && this.run());
    }
    this.lead?.addEventListener("ended", () => { this.go(0); this.run(); });
    this.play?.addEventListener("click", () => this.toggle());
    this.view?.addEventListener("click", () => this.lay(!card.classList.contains("side")));
    this.seek?.addEventListener("input", () => {
      this.go(this.seek.value / 1000 * this.duration);
    });
    this.split?.addEventListener("input", () => {
      this.stage.style.setProperty("--split", this.split.value + "%");
    });
  }
  get duration() { return this.lead.duration || Number(this.card.dataset.length) || 0; }

  /** Loads the poster. Without one, loads as much of the video as its picture needs. */
  show() {
    for (const video of this.videos.filter(video => !video.hasAttribute("src"))) {
      const { src, poster, moment } = video.dataset;
      if (poster) video.poster = poster;
      video.preload = poster ? "none" : "metadata";
      video.src = poster ? src : `${src}#t=${moment}`;
    }
  }
  /** Unloads videos that are out of view: browsers cannot hold hundreds of them. */
  hide() {
    this.pause();
    this.fresh = true;
    for (const video of this.videos) { video.removeAttribute("src"); video.load(); }
    this.paint();
  }
  toggle() { this.running ? this.pause() : this.start(); }
  start() {
    if (!this.lead) return;
    if (playing !== this) playing?.pause();
    playing = this;
    this.running = true;
    this.card.classList.add("playing");
    this.play.setAttribute("aria-label", "Pause");
    this.show();
    if (this.fresh || this.lead.ended) this.go(0);
    this.run();
    this.follow();
  }
  run() {
    const live = this.videos.filter(video => !video.error && !video.ended);
    if (!live.every(video => video.readyState > 2)) return;
    for (const video of live) video.play().catch(() => {}); // a pause may come first
  }
  pauseOthers(video) {
    for (const other of this.videos) if (other !== video) other.pause();
  }
  pause() {
    this.running = false;
    this.card.classList.remove("playing");
    this.play?.setAttribute("aria-label", "Play");
    for (const video of this.videos) video.pause();
  }
  go(second) {
    this.fresh = false;
    this.show();
    for (const video of this.videos) {
      video.preload = "auto";
      video.currentTime = Math.min(second, video.duration || second);
    }
    this.paint();
  }
  follow() {
    if (!this.running) return;
    const now = this.lead.currentTime;
    for (const video of this.followers) {
      const seeking = video.seeking || this.lead.seeking;
      const drifted = Math.abs(video.currentTime - now) > MAX_DRIFT;
      if (!seeking && drifted && now < video.duration) video.currentTime = now;
    }
    this.paint();
    requestAnimationFrame(() => this.follow());
  }
  paint() {
    if (!this.lead) return;
    const at = this.fresh ? 0 : this.lead.currentTime, whole = this.duration;
    this.seek.value = whole ? at / whole * 1000 : 0;
    this.seek.style.setProperty("--done", this.seek.value / 10 + "%");
    const length = whole ? whole.toFixed(1) + " s" : "";
    this.clock.textContent = this.fresh ? length : `${at.toFixed(1)} / ${whole.toFixed(1)} s`;
  }
  lay(side) {
    this.card.classList.toggle("side", side);
    this.view?.setAttribute("aria-pressed", side);
  }
  fail(video) {
    if (!video.hasAttribute("src")) return;
    this.broken.hidden = false;
    this.broken.textContent = `“${video.getAttribute("aria-label")}” cannot be played here: `
      + "the file is gone, its link has expired, or this browser does not support it.";
    if (this.videos.every(each => each.error)) this.pause();
  }
}

const seen = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    const player = players.get(target);
    isIntersecting ? player.show() : player.hide();
  }
}, { rootMargin: "300px" });
for (const card of cards) {
  players.set(card, new Player(card));
  seen.observe(card);
}

const texts = new Map(cards.map(card => {
  const parts = all(".searched", card).map(part => part.textContent);
  return [card, parts.join(" ").toLowerCase()];
}));
function filter() {
  const words = the("text").value.toLowerCase().split(/\s+/);
  const state = the("state").value, mode = the("mode").value;
  for (const card of cards) {
    const { dataset } = card, text = texts.get(card);
    const other = state && dataset.state !== state || mode && dataset.mode !== mode;
    card.hidden = Boolean(other || words.some(word => !text.includes(word)));
  }
  const shown = cards.filter(card => !card.hidden).length;
  the("shown").textContent = shown === cards.length ? "" : `${shown} of ${cards.length}`;
  the("none").hidden = shown > 0;
}
function sort() {
  const [by, down] = the("sort").value.split(" ");
  const direction = down ? -1 : 1;
  const names = new Intl.Collator(undefined, { numeric: true });
  const compare = ({ dataset: a }, { dataset: b }) =>
    by === "clip" ? names.compare(a.clip, b.clip) : a[by] - b[by];
  grid.append(...cards.sort((a, b) => direction * compare(a, b)));
}
for (const id of ["text", "state", "mode"]) the(id).addEventListener("input", filter);
the("sort").addEventListener("input", sort);
the("tools").addEventListener("submit", event => event.preventDefault());
the("views").addEventListener("click", ({ currentTarget: button }) => {
  const side = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", side);
  for (const player of players.values()) player.lay(side);
});
the("sound").addEventListener("click", ({ currentTarget: button }) => {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  for (const { lead } of players.values()) if (lead) lead.muted = !on; // never both sounds
});

function choose(card) {
  if (current) current.tabIndex = -1;
  current = card;
  card.tabIndex = 0;
}
grid.addEventListener("focusin", event => choose(event.target.closest(".card")));
function move(key) {
  const visible = cards.filter(card => !card.hidden);
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const neighbor = visible[visible.indexOf(current) + step];
  const first = visible.includes(current) ? current : visible[0];
  const next = document.activeElement.closest(".card") === current ? neighbor : first;
  next?.focus();
}
document.addEventListener("keydown", event => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "Escape" && target.matches("input")) {
    const card = current?.hidden ? cards.find(card => !card.hidden) : current;
    return card?.focus();
  }
  if (target.matches("select, input[type=search]")) return;
  if (key.startsWith("Arrow") && !target.matches("input")) move(key);
  else if (key === " " && !target.matches("button")) current && players.get(current).toggle();
  else if (key === "s") {
    if (current) players.get(current).lay(!current.classList.contains("side"));
  }
  else if (key === "m") the("sound").click();
  else if (key === "/") the("text").focus();
  else return;
  event.preventDefault();
});
filter(); // the browser may have kept the choices of the last visit
sort();
