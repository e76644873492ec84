// The grid of a release's pairs. Only the tiles near the visible part exist, and their rows are fetched in blocks, so
// that 100,000 pairs scroll as well as 100. The filter lives in the URL.

import { PairMap } from "./map.js";

const find = (id) => document.getElementById(id);
const root = find("view");
const form = find("filter");
const grid = find("grid");
const BLOCK = Number(root.dataset.page); // rows that are fetched at a time
const GAP = 12; // pixels between tiles
const CAPTION = 52; // pixels of the text below a thumbnail
const MAX_HEIGHT = 12_000_000; // pixels; browsers cut elements that are much higher
const TYPING_MS = 250; // milliseconds after the last key until the filter is applied
const SCROLLING_MS = 60; // milliseconds for which a tile is in sight until its thumbnail is fetched

let total = 0;
let query = ""; // of the URL that the server gave the filter
let code = "";
let blocks = new Map(); // number of a block: its rows, or a promise of them
let tiles = new Map(); // number of a pair in the grid: its element
let layout = { columns: 1, width: 1, height: 1 };
let asked = 0; // number of filters that were applied; answers to earlier ones are dropped
let focused = 0; // number of the tile that the arrow keys start from
let timer = null;
const selected = new Set(JSON.parse(sessionStorage.getItem(`selected ${root.dataset.id}`) ?? "[]"));
const map = new PairMap(find("points"), find("point"), (split, row) => thumbnail(split, row), (key) => pairUrl(key));

// --- filter and URL ---

function formQuery() {
  const pairs = [];
  const data = new FormData(form);
  const metrics = data.getAll("metric");
  const [lows, highs] = [data.getAll("low"), data.getAll("high")];
  for (const [name, value] of data) if (!["metric", "low", "high"].includes(name) && value) pairs.push([name, value]);
  metrics.forEach((metric, i) => {
    if (metric && (lows[i] || highs[i])) pairs.push(["metric", metric], ["low", lows[i]], ["high", highs[i]]);
  });
  return new URLSearchParams(pairs).toString();
}

async function fetchJson(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// Show the pairs of a query, from the top or, on the way back from a pair, from where its tile was.
async function apply(text) {
  const mine = ++asked;
  blocks = new Map();
  let answer;
  try {
    answer = await fetchJson(`/api/rows?${text}&start=0&count=${BLOCK}`);
    warn("");
  } catch (error) {
    if (mine === asked) warn(error.message);
    return;
  }
  if (mine !== asked) return;
  ({ total, query, code } = answer);
  blocks.set(0, answer.rows);
  find("count").replaceChildren(
    strong(total.toLocaleString("en")),
    total === answer.of ? " pairs" : ` of ${answer.of.toLocaleString("en")} pairs`,
  );
  find("keys").href = `/keys.txt?${query}`;
  badges();
  removeTiles();
  focused = 0;
  measure();
  const place = JSON.parse(sessionStorage.getItem("place") ?? "null");
  sessionStorage.removeItem("place");
  window.scrollTo(0, place?.query === query ? place.top : 0);
  render();
  root.dataset.state = "shown";
  if (!find("map").hidden) drawMap();
}

function strong(text) {
  const element = document.createElement("strong");
  element.textContent = text;
  return element;
}

function warn(text) {
  find("warning").textContent = text;
  find("warning").hidden = !text;
}

// Apply the form's filter, and make it the page's URL.
function submit(push = true) {
  const text = formQuery();
  history[push ? "pushState" : "replaceState"](null, "", text ? `/?${text}` : "/");
  apply(text);
}

function badges() {
  for (const details of document.querySelectorAll(".choice")) {
    const ranges = [...details.querySelectorAll(".range")].filter(
      (range) => range.children[1].value && (range.children[2].value || range.children[3].value),
    );
    const count = details.querySelectorAll("input:checked").length + ranges.length;
    const badge = details.querySelector(".badge");
    badge.textContent = String(count);
    badge.hidden = !count;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener("input", (event) => {
  clearTimeout(timer);
  if (event.target.name === "split") {
    location.assign(`/?split=${encodeURIComponent(event.target.value)}`); // another split has other choices
    return;
  }
  addRange();
  const isTyped = ["search", "text"].includes(event.target.type);
  timer = setTimeout(() => submit(!isTyped), isTyped ? TYPING_MS : 0);
});
find("clear").addEventListener("click", () => location.assign("/"));
window.addEventListener("popstate", () => location.reload());

// Add an empty range where all are in use.
function addRange() {
  const ranges = [...form.querySelectorAll(".range")];
  const last = ranges.at(-1);
  if (!last.children[1].value || ranges.length >= 8) return;
  const copy = last.cloneNode(true);
  for (const input of copy.querySelectorAll("input")) input.value = "";
  copy.querySelector("select").value = "";
  last.after(copy);
}
addRange();

// A list of choices closes when something else is clicked, or by Escape.
document.addEventListener("click", (event) => {
  for (const details of document.querySelectorAll("details.choice[open]"))
    if (!details.contains(event.target)) details.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const details = document.querySelector("details.choice[open]");
  if (!details) return;
  details.open = false;
  details.querySelector("summary").focus();
});

// --- rows ---

function rowAt(number) {
  const block = Math.floor(number / BLOCK);
  const rows = blocks.get(block);
  if (Array.isArray(rows)) return rows[number - block * BLOCK];
  if (!rows) {
    const mine = asked;
    const answer = fetchJson(`/api/rows?${query}&start=${block * BLOCK}&count=${BLOCK}`);
    blocks.set(block, answer);
    answer.then(
      (found) => {
        if (mine !== asked) return;
        blocks.set(block, found.rows);
        render();
      },
      (error) => {
        if (mine !== asked) return;
        blocks.delete(block);
        warn(`${error.message} Scroll to try again.`);
      },
    );
  }
  return null;
}

// --- tiles ---

function measure() {
  const wanted = Number(find("size").value);
  const room = grid.clientWidth;
  const columns = Math.max(1, Math.floor((room + GAP) / (Math.min(wanted, room) + GAP)));
  const width = (room - GAP * (columns - 1)) / columns;
  layout = { columns, width, height: Math.round(width / 2) + CAPTION + GAP };
  grid.style.height = `${Math.min(Math.ceil(total / columns) * layout.height, MAX_HEIGHT)}px`;
}

// Return the row of tiles at the top of the screen, with a fraction, and where the screen begins in the grid.
function position() {
  const { columns, height } = layout;
  const full = Math.ceil(total / columns) * height;
  const shown = Math.min(full, MAX_HEIGHT);
  const top = grid.getBoundingClientRect().top;
  const start = Math.min(Math.max(-top, 0), Math.max(0, shown - innerHeight));
  const share = full > shown ? (full - innerHeight) / (shown - innerHeight) : 1; // of a grid that is too high
  return { start, row: (start * share) / height, share };
}

function render() {
  const { columns, height, width } = layout;
  const { start, row, share } = position();
  const visible = Math.ceil(innerHeight / height) + 1;
  const first = Math.max(0, Math.floor(row) - 1) * columns;
  const last = Math.min(total, (Math.floor(row) + visible + 1) * columns);
  for (const [number, tile] of tiles) if (number < first || number >= last) removeTile(number, tile);
  for (let number = first; number < last; number++) {
    const found = rowAt(number);
    let tile = tiles.get(number);
    if (!tile) {
      tile = document.createElement("li");
      tile.setAttribute("aria-setsize", String(total));
      tile.setAttribute("aria-posinset", String(number + 1));
      tiles.set(number, tile);
      insert(tile, number);
    }
    if (found && !tile.firstChild) fill(tile, found, number);
    const y = share === 1 ? Math.floor(number / columns) * height : start + (Math.floor(number / columns) - row) * height;
    tile.style.transform = `translate(${(number % columns) * (width + GAP)}px, ${y}px)`;
    tile.style.width = `${width}px`;
    tile.style.height = `${height - GAP}px`;
  }
}

// Insert a tile so that the order of the elements is that of the pairs, for keyboards and screen readers.
function insert(tile, number) {
  tile.dataset.number = String(number);
  const next = [...grid.children].find((other) => Number(other.dataset.number) > number);
  grid.insertBefore(tile, next ?? null);
}

function fill(tile, found, number) {
  const [row, key, degradation, restorer, licence, value] = found;
  const name = degradation.replaceAll("_", " ");
  const link = document.createElement("a");
  link.href = pairUrl(key);
  link.tabIndex = number === focused ? 0 : -1;
  link.addEventListener("focus", () => (focused = number));
  link.addEventListener("click", remember);
  const image = document.createElement("img");
  image.alt = `Photograph and restoration, ${name}, key ${key}`;
  image.addEventListener("error", () => tile.classList.add("failed"));
  image.addEventListener("load", () => (root.dataset.first ??= performance.now().toFixed(0)));
  tile.timer = setTimeout(() => (image.src = thumbnail(split(), row)), number < layout.columns ? 0 : SCROLLING_MS);
  const caption = document.createElement("span");
  caption.className = "caption";
  const title = strong(name);
  caption.append(title);
  if (value !== undefined) {
    const score = document.createElement("span");
    score.className = "n";
    score.textContent = value === null ? "not measured" : `${new URLSearchParams(query).get("sort").replace("-", "").replaceAll("_", " ")} ${value}`;
    caption.append(score);
  }
  const about = document.createElement("span");
  about.className = "soft note";
  about.textContent = `${restorer} · ${licence}`;
  link.append(image, caption, about);
  const label = document.createElement("label");
  label.className = "pick";
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = selected.has(key);
  box.setAttribute("aria-label", `Select ${key}`);
  box.addEventListener("change", () => select(key, box.checked));
  label.append(box);
  tile.append(link, label);
}

function removeTile(number, tile) {
  clearTimeout(tile.timer);
  const image = tile.querySelector("img");
  if (image && !image.complete) image.removeAttribute("src"); // so that the browser asks no more for it
  tile.remove();
  tiles.delete(number);
}

function removeTiles() {
  for (const [number, tile] of tiles) removeTile(number, tile);
}

function split() {
  return new URLSearchParams(query).get("split");
}

function thumbnail(name, row) {
  return `/thumbnail/${root.dataset.id}/${encodeURIComponent(name)}/${row}/${find("mode").value}.jpg`;
}

function pairUrl(key) {
  const rest = new URLSearchParams(query);
  rest.delete("split");
  const tail = rest.toString();
  return `/pair/${encodeURIComponent(split())}/${encodeURIComponent(key)}${tail ? `?${tail}` : ""}`;
}

// Keep the place for the way back from a pair.
function remember() {
  sessionStorage.setItem("place", JSON.stringify({ query, top: scrollY }));
}

let waiting = false;
function renderSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    render();
  });
}
window.addEventListener("scroll", renderSoon, { passive: true });
let lastWidth = 0;
new ResizeObserver(() => {
  if (grid.clientWidth === lastWidth) return;
  lastWidth = grid.clientWidth;
  measure();
  render();
}).observe(grid);

// --- keyboard ---

const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: "-row", ArrowDown: "row", PageUp: "-page", PageDown: "page", Home: "start", End: "end" };
grid.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "checkbox") return;
  if (event.key === "x") {
    event.preventDefault();
    tiles.get(focused)?.querySelector("input")?.click();
    return;
  }
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  const page = Math.max(1, Math.floor(innerHeight / layout.height)) * layout.columns;
  const moves = { "-row": -layout.columns, row: layout.columns, "-page": -page, page, start: -Infinity, end: Infinity };
  focus(Math.min(total - 1, Math.max(0, focused + (moves[step] ?? step))));
});
grid.addEventListener("focus", () => focus(focused));

function focus(number) {
  if (number < 0 || number >= total) return;
  for (const tile of tiles.values()) tile.firstChild && (tile.firstChild.tabIndex = -1);
  focused = number;
  const { share } = position();
  const y = (Math.floor(number / layout.columns) * layout.height) / share;
  const top = grid.getBoundingClientRect().top + scrollY;
  if (top + y < scrollY) window.scrollTo(0, top + y);
  else if (top + y + layout.height > scrollY + innerHeight) window.scrollTo(0, top + y + layout.height - innerHeight);
  render();
  const link = tiles.get(number)?.querySelector("a");
  if (!link) {
    setTimeout(() => focused === number && focus(number), 50); // its row is being fetched
    return;
  }
  link.tabIndex = 0;
  link.focus({ preventScroll: true });
}

// --- selection, code, link ---

function select(key, isSelected) {
  if (isSelected) selected.add(key);
  else selected.delete(key);
  showSelection();
}

function showSelection() {
  find("selection").hidden = !selected.size;
  find("selected").textContent = selected.size.toLocaleString("en");
  sessionStorage.setItem(`selected ${root.dataset.id}`, JSON.stringify([...selected]));
}

find("unselect").addEventListener("click", () => {
  selected.clear();
  for (const box of grid.querySelectorAll("input")) box.checked = false;
  showSelection();
});
find("selected-keys").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([...selected].map((key) => `${key}\n`), { type: "text/plain" }));
  link.download = "keys.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
find("selected-code").addEventListener("click", () => {
  const keys = [...selected].map((key) => JSON.stringify(key)).join(", ");
  const names = [root.dataset.url, split()].map((name) => JSON.stringify(name)).join(", ");
  showCode(`import ggt100k\n\npairs = ggt100k.PairDataset(${names}, where={"key": [${keys}]})\n`);
});
find("show-code").addEventListener("click", () => showCode(code));
find("copy-code").addEventListener("click", () => copy(find("code-text").textContent, find("copied")));
find("copy-link").addEventListener("click", () => copy(location.href, find("copy-link")));
for (const button of document.querySelectorAll("[data-close]"))
  button.addEventListener("click", () => button.closest("dialog").close());

function showCode(text) {
  find("code-text").textContent = text;
  find("copied").textContent = "";
  find("code").showModal();
}

async function copy(text, place) {
  const before = place.textContent;
  try {
    await navigator.clipboard.writeText(text);
    place.textContent = "Copied";
  } catch {
    place.textContent = "Select the text and copy it";
    showCode(text);
  }
  setTimeout(() => (place.textContent = before), 1500);
}

// --- what is shown ---

for (const name of ["mode", "size"]) {
  find(name).value = sessionStorage.getItem(name) ?? (name === "mode" ? root.dataset.mode : find(name).value);
  find(name).addEventListener("change", () => {
    sessionStorage.setItem(name, find(name).value);
    removeTiles();
    measure();
    render();
  });
}
find("show-map").addEventListener("click", () => {
  const isShown = find("map").hidden;
  find("map").hidden = !isShown;
  find("show-map").setAttribute("aria-pressed", String(isShown));
  if (isShown) drawMap();
});
find("colour").addEventListener("change", () => map.colourBy(find("colour").value, find("legend")));

async function drawMap() {
  const mine = asked;
  const answer = await fetchJson(`/api/map?${query}`);
  if (mine !== asked) return;
  const before = find("colour").value;
  find("colour").replaceChildren(
    ...Object.keys(answer.colours).map((name) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = name === "degradation" ? "class" : name;
      return option;
    }),
  );
  if (before in answer.colours) find("colour").value = before;
  map.draw(answer, split());
  map.colourBy(find("colour").value, find("legend"));
  const shares = answer.explained.map((share) => `${Math.round(100 * share)} %`).join(" and ");
  const shown = answer.shown === answer.total ? "" : ` ${answer.shown.toLocaleString("en")} of the pairs are shown.`;
  find("map-text").textContent = `Principal components of the scores; the axes explain ${shares} of their variance.${shown}`;
}

showSelection();
history.scrollRestoration = "manual";
apply(location.search.slice(1));
