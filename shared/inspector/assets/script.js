// The inspector: takes rows from the stream, filters them, opens events, and passes on what somebody does. Every HTML
// that it puts in was made and escaped by the server.
"use strict";
const one = (id) => document.getElementById(id);
const list = one("list"), pane = one("event"), search = one("search");
const rows = new Map(); // id -> li, oldest first; the list has the newest of those that pass the filter
const MOST = 10000, SCREEN = 200;
let limit = SCREEN, shown = [], found = new Set(); // events whose rows lack the words, but in which the server has found them

// --- the stream -----------------------------------------------------------------------------------------------------
let stream, last = "0-0";
function connect() {
  stream?.close();
  stream = new EventSource(`events/${last}`);
  stream.onopen = () => { one("live").textContent = "live"; };
  stream.onerror = () => {
    one("live").textContent = "the stack does not answer; trying again";
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 1000);
  };
  stream.onmessage = (message) => {
    last = message.lastEventId;
    const { anew, rows: html } = JSON.parse(message.data);
    if (anew && rows.size) return location.reload(); // another stack, perhaps with other samples and switches
    const template = document.createElement("template");
    template.innerHTML = html;
    let isOpen = false;
    for (const row of [...template.content.children]) {
      const id = row.dataset.id;
      option("type", row.dataset.type);
      for (const outcome of row.dataset.outcomes.split(" ")) option("destination", outcome.split("=")[0]);
      if (id === chosen()) isOpen = true;
      rows.set(id, row); // in the place that it has
    }
    for (const id of rows.keys()) { if (rows.size <= MOST) break; rows.delete(id); }
    later("list", show, 50);
    later("search", searchLong, 1000);
    later("numbers", showNumbers, 1000);
    later("switches", showSwitches, 1000);
    if (isOpen) later("event", () => open(chosen(), true), 150);
  };
}
// A closed lid may have broken the stream without a word.
document.addEventListener("visibilitychange", () => { if (!document.hidden) connect(); });
addEventListener("online", connect);

const timers = {};
function later(name, work, wait) { timers[name] ??= setTimeout(() => { delete timers[name]; work(); }, wait); }

// --- the list -------------------------------------------------------------------------------------------------------
function option(id, value) {
  const select = one(id);
  if (!value || [...select.options].some((option) => option.value === value)) return;
  select.add(new Option(value, value));
}
function passes(row, { type, destination, outcome, words }) {
  if ((type && row.dataset.type !== type) || (words && !row.dataset.text.includes(words) && !found.has(row.dataset.id))) return false;
  if (!destination && !outcome) return true;
  const outcomes = row.dataset.outcomes.split(" ").map((pair) => pair.split("="));
  return outcomes.some(([name, is]) => (!destination || name === destination) && (!outcome || is === outcome));
}
// A row that is replaced between press and release loses its click.
let isPressed = false;
list.addEventListener("pointerdown", (event) => { isPressed = event.button === 0 && event.target.closest("li") !== null; });
pane.addEventListener("pointerdown", () => { isHeld = true; });
// A menu or a drag takes the release of the button away.
for (const type of ["pointerup", "pointercancel", "contextmenu", "dragend", "blur"]) addEventListener(type, () => {
  if (isPressed) later("list", show, 50);
  isPressed = isHeld = false;
});
// Thousands of rows in a document make a browser slow, so that it has those that can be seen and some more.
function show() {
  if (isPressed) return;
  const filter = { type: one("type").value, destination: one("destination").value, outcome: one("outcome").value, words: search.value.trim().toLowerCase() };
  shown = [...rows.values()].filter((row) => passes(row, filter)).reverse().sort((one, other) => other.dataset.at - one.dataset.at);
  const focused = document.activeElement?.closest("#list li")?.dataset.id, { scrollTop } = list;
  for (const row of list.querySelectorAll("[aria-current]")) row.removeAttribute("aria-current");
  rows.get(chosen())?.setAttribute("aria-current", "true");
  list.replaceChildren(...shown.slice(0, limit));
  list.scrollTop = scrollTop;
  if (focused) rows.get(focused)?.firstElementChild.focus({ preventScroll: true });
  one("count").textContent = shown.length === rows.size ? `${rows.size} events` : `${shown.length} of ${rows.size} events`;
  one("none").hidden = rows.size > 0;
}
list.addEventListener("scroll", () => {
  if (list.scrollTop + 2 * list.clientHeight < list.scrollHeight || list.children.length < limit) return;
  list.append(...shown.slice(limit, limit + SCREEN));
  limit += SCREEN;
});
one("filters").addEventListener("input", () => { found = new Set(); limit = SCREEN; list.scrollTop = 0; show(); later("search", searchLong, 200); });
async function searchLong() {
  const words = search.value.trim();
  if (!words) return;
  const response = await fetch("search", { method: "POST", body: words }).catch(() => null);
  if (response?.ok && words === search.value.trim()) { found = new Set(await response.json()); show(); }
}
one("filters").addEventListener("submit", (event) => event.preventDefault());

// --- one event ------------------------------------------------------------------------------------------------------
// What somebody presses or has selected in it stays in its place until that is over.
let isHeld = false;
const isInUse = () => isHeld || (!getSelection().isCollapsed && pane.contains(getSelection().anchorNode));
const chosen = () => decodeURIComponent(location.hash.slice(1));
async function open(id, again) {
  show();
  if (again && isInUse()) { later("event", () => open(chosen(), true), 1000); return; }
  if (!id) { pane.replaceChildren(); return; }
  const response = await fetch(`event/${encodeURIComponent(id)}`).catch(() => null);
  const html = await response?.text().catch(() => undefined);
  if (id !== chosen()) return;
  if (again && isInUse()) { later("event", () => open(chosen(), true), 1000); return; }
  if (html === undefined || !response.ok) { if (!again) pane.textContent = html ?? "The stack does not answer."; return; }
  const folds = [...pane.querySelectorAll("details")].map((fold) => fold.open);
  const words = one("find")?.value ?? "", focus = pane.contains(document.activeElement) ? named(document.activeElement) : "";
  pane.innerHTML = html;
  if (again) {
    // What somebody folded stays so, as long as the event is of the same shape.
    const now = [...pane.querySelectorAll("details")];
    if (now.length === folds.length) now.forEach((fold, place) => { fold.open = folds[place]; });
    if (words) { one("find").value = words; find(words, false); }
    if (focus) [...pane.querySelectorAll("button, input, summary, [tabindex]")].find((other) => named(other) === focus)?.focus({ preventScroll: true });
  } else if (innerWidth < 1100) pane.scrollIntoView(); // else it is beside the list
}
addEventListener("hashchange", () => open(chosen(), false));
setInterval(() => { if (chosen() && !document.hidden && pane.querySelector(".next")) open(chosen(), true); }, 1000);

const named = (element) => element.id || element.dataset.path || element.textContent;
function find(words, scrolls) {
  words = words.toLowerCase();
  let first;
  for (const leaf of pane.querySelectorAll(".leaf")) {
    const is = words !== "" && leaf.textContent.toLowerCase().includes(words);
    leaf.classList.toggle("found", is);
    if (is) { first ??= leaf; for (let fold = leaf.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true; }
  }
  if (scrolls) first?.scrollIntoView({ block: "nearest" });
}
function link(leaf) {
  for (const linked of pane.querySelectorAll(".linked")) linked.classList.remove("linked");
  if (!leaf) return;
  const from = leaf.dataset.from ? leaf.dataset.from.split("\n") : [leaf.dataset.path];
  for (const other of pane.querySelectorAll(".leaf")) {
    const sources = other.dataset.from ? other.dataset.from.split("\n") : [];
    if (from.includes(other.dataset.path) || sources.some((path) => from.includes(path))) other.classList.add("linked");
  }
}
for (const type of ["mouseover", "focusin"]) pane.addEventListener(type, (event) => link(event.target.closest(".leaf")));
pane.addEventListener("input", (event) => { if (event.target.id === "find") find(event.target.value, true); });

// --- keys -----------------------------------------------------------------------------------------------------------
function move(step) {
  const all = [...list.children];
  const place = all.findIndex((row) => row.contains(document.activeElement) || (document.activeElement === document.body && row.hasAttribute("aria-current")));
  const next = all[Math.min(Math.max(place + step, 0), all.length - 1)];
  next?.firstElementChild.focus();
}
addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (search === document.activeElement && search.value) { search.value = ""; show(); return; }
    document.activeElement.blur();
    const row = rows.get(chosen());
    history.replaceState(null, "", " ");
    open("", false);
    row?.firstElementChild.focus();
    return;
  }
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "/") { event.preventDefault(); search.focus(); }
});

// --- what can be done -----------------------------------------------------------------------------------------------
async function act(action) {
  const response = await fetch("act", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(action) }).catch(() => null);
  say((await response?.json().catch(() => null))?.said ?? "The stack does not answer.");
  showSwitches();
}
async function showSwitches() {
  if (!one("bench")) return;
  const response = await fetch("switches").catch(() => null);
  for (const { destination, behaviour, is_paused } of response?.ok ? await response.json() : []) {
    const of = (kind) => document.querySelector(`[data-${kind}="${destination}"]`);
    of("behave").value = behaviour;
    of("pause").hidden = is_paused;
    of("resume").hidden = !is_paused;
  }
}
function say(words) {
  one("said").textContent = words;
  clearTimeout(timers.said);
  timers.said = setTimeout(() => { one("said").textContent = ""; }, 6000);
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { copy, again, route, redrive, pause, resume } = button.dataset;
  if (copy !== undefined) say(await navigator.clipboard.writeText(copy).then(() => "Copied", () => "The browser does not let the page copy."));
  else if (again !== undefined) act({ send: { route, body: again } });
  else if (redrive !== undefined) { if (button.dataset.asks === undefined || confirm(`Put the dead letters of ${redrive} back on the queue?`)) act({ redrive }); }
  else if (pause !== undefined) act({ pause: { destination: pause, is_paused: true } });
  else if (resume !== undefined) act({ pause: { destination: resume, is_paused: false } });
  else if (button.id === "hurry") act("hurry");
});
document.addEventListener("change", (event) => {
  const destination = event.target.dataset.behave;
  if (destination) act({ behave: { destination, behaviour: event.target.value } });
  if (event.target.id === "sample") chooseSample();
});
function chooseSample() {
  one("body").value = one("sample").value;
  one("route").value = one("sample").selectedOptions[0].dataset.route;
}
one("send")?.addEventListener("submit", (event) => { event.preventDefault(); act({ send: { route: one("route").value, body: one("body").value } }); });
if (one("sample")) chooseSample();

async function showNumbers() {
  const response = await fetch("numbers").catch(() => null);
  if (response?.ok) one("numbers").innerHTML = await response.text();
}
showNumbers();
connect();
open(chosen(), false);
