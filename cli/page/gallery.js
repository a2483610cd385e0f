"use strict";
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const the = id => document.getElementById(id);
const grid = the("takes"), cards = all(".card"), players = new Map();
const DRIFT = 0.12; // seconds that two videos may be apart
let current = cards[0], playing = null;

/** The videos of one card. The last one leads, the other follows it. */
class Player {
  constructor(card) {
    this.card = card;
    this.videos = all("video", card);
    this.lead = this.videos.at(-1);
    this.followers = this.videos.slice(0, -1);
    for (const name of ["stage", "split", "seek", "clock", "play", "view", "broken"]) this[name] = card.querySelector("." + name);
    this.fresh = true; // it shows its middle, and begins at the start
    for (const video of this.videos) {
      video.addEventListener("error", () => this.fail(video));
      video.addEventListener("loadeddata", () => this.paint());
      video.addEventListener("waiting", () => this.running && this.videos.forEach(other => other !== video && other.pause()));
      video.addEventListener("canplay", () => this.running && this.run());
    }
    this.lead?.addEventListener("ended", () => { this.go(0); this.run(); });
    this.play?.addEventListener("click", () => this.toggle());
    this.view?.addEventListener("click", () => this.lay(!card.classList.contains("side")));
    this.seek?.addEventListener("input", () => this.go(this.seek.value / 1000 * this.duration));
    this.split?.addEventListener("input", () => this.stage.style.setProperty("--split", this.split.value + "%"));
  }
  get duration() { return this.lead.duration || Number(this.card.dataset.length) || 0; }

  /** In view: a picture, and nothing else is loaded; without a picture, as much of the video as one takes. */
  show() {
    for (const video of this.videos.filter(video => !video.hasAttribute("src"))) {
      const { src, poster, moment } = video.dataset;
      if (poster) video.poster = poster;
      video.preload = poster ? "none" : "metadata";
      video.src = poster ? src : `${src}#t=${moment}`;
    }
  }
  /** Out of view: browsers do not like hundreds of videos at once. */
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
    if (live.every(video => video.readyState > 2)) for (const video of live) video.play().catch(() => {}); // a pause may come first
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
    for (const video of this.followers)
      if (!video.seeking && !this.lead.seeking && now < video.duration && Math.abs(video.currentTime - now) > DRIFT) video.currentTime = now;
    this.paint();
    requestAnimationFrame(() => this.follow());
  }
  paint() {
    if (!this.lead) return;
    const at = this.fresh ? 0 : this.lead.currentTime, whole = this.duration;
    this.seek.value = whole ? at / whole * 1000 : 0;
    this.seek.style.setProperty("--done", this.seek.value / 10 + "%");
    this.clock.textContent = this.fresh ? (whole ? whole.toFixed(1) + " s" : "") : `${at.toFixed(1)} / ${whole.toFixed(1)} s`;
  }
  lay(side) {
    this.card.classList.toggle("side", side);
    this.view?.setAttribute("aria-pressed", side);
  }
  fail(video) {
    if (!video.hasAttribute("src")) return;
    this.broken.hidden = false;
    this.broken.textContent = `“${video.getAttribute("aria-label")}” cannot be played here: the file is gone, its link has ended, or this browser cannot read it.`;
    if (this.videos.every(each => each.error)) this.pause();
  }
}

const seen = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) isIntersecting ? players.get(target).show() : players.get(target).hide();
}, { rootMargin: "300px" });
for (const card of cards) {
  players.set(card, new Player(card));
  seen.observe(card);
}

const words = new Map(cards.map(card => [card, all(".told", card).map(part => part.textContent).join(" ").toLowerCase()]));
function filter() {
  const wanted = the("text").value.toLowerCase().split(/\s+/), state = the("state").value, mode = the("mode").value;
  for (const card of cards) {
    const { dataset } = card;
    card.hidden = Boolean(state && dataset.state !== state || mode && dataset.mode !== mode || wanted.some(word => !words.get(card).includes(word)));
  }
  const shown = cards.filter(card => !card.hidden).length;
  the("shown").textContent = shown === cards.length ? "" : `${shown} of ${cards.length}`;
  the("none").hidden = shown > 0;
}
function sort() {
  const [by, down] = the("sort").value.split(" "), way = down ? -1 : 1, name = new Intl.Collator(undefined, { numeric: true });
  const compare = (a, b) => by === "clip" ? name.compare(a.dataset.clip, b.dataset.clip) : a.dataset[by] - b.dataset[by];
  grid.append(...cards.sort((a, b) => way * compare(a, b)));
}
for (const id of ["text", "state", "mode"]) the(id).addEventListener("input", filter);
the("sort").addEventListener("input", sort);
the("tools").addEventListener("submit", event => event.preventDefault());
the("views").addEventListener("click", ({ currentTarget: button }) => {
  const side = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", side);
  for (const player of players.values()) player.lay(side);
});

function choose(card) {
  if (current) current.tabIndex = -1;
  current = card;
  card.tabIndex = 0;
}
grid.addEventListener("focusin", event => choose(event.target.closest(".card")));
function move(key) {
  const visible = cards.filter(card => !card.hidden), columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key], to = visible.indexOf(current) + step;
  const next = document.activeElement.closest(".card") === current ? visible[to] : visible.includes(current) ? current : visible[0];
  next?.focus();
}
document.addEventListener("keydown", event => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "Escape" && target.matches("input")) return (current?.hidden ? cards.find(card => !card.hidden) : current)?.focus();
  if (target.matches("select, input[type=search]")) return;
  if (key.startsWith("Arrow") && !target.matches("input")) move(key);
  else if (key === " " && !target.matches("button")) current && players.get(current).toggle();
  else if (key === "s") current && players.get(current).lay(!current.classList.contains("side"));
  else if (key === "/") the("text").focus();
  else return;
  event.preventDefault();
});
filter(); // a browser may have kept what was chosen
sort();
