// The page on which a reviewer judges pairs, or a study's comparisons. They are fetched ahead, shown, decided by a key,
// and sent. A decision is kept in the browser until the server answers that it is in the ledger.

import { Controls, fetchPicture } from "/shared/controls.js";
import { Viewer } from "/shared/viewer.js";

const AHEAD = 4;
const RETRY_MS = 2000; // milliseconds until an image that could not be fetched is fetched again
const root = document.getElementById("sitting");
const { kind, reviewer, candidate, workspace } = root.dataset;
const showEvidence = root.dataset.evidence === "yes";
const page = hex();
// one key for each decision, so that neither two pages of a reviewer nor two workspaces on one port overwrite another's
const storage = `ggt100k ${workspace} ${kind === "study" ? "study" : "judge"} ${reviewer} `;
const find = (id) => document.getElementById(id);
const reasons = find("reasons");
const help = find("help");
const panel = find("evidence");
const MODES = kind === "study" ? ["all", "side", "wipe", "difference"] : ["wipe", "side", "difference"];

const viewer = new Viewer(find("canvas"), updateControls);
const controls = new Controls(viewer, view, MODES);
let queue = []; // views that wait, the next one first
let current = null; // the view that is shown
let last = null; // the view that was decided last
let looking = false; // whether `last` is shown again, with its evidence
let decided = new Map(); // what was decided on this page, by view
let pending = readUnsent(); // decisions that are not in the ledger yet
let later = [];
let counts = { judged: 0, waiting: 0 };
let begun = null; // since when the current view is visible
let seen = 0; // milliseconds for which it was visible before
let total = 0; // seconds and number of the decisions on this page
let count = 0;
let talking = null;
let again = false;
let wait = 0;
let failures = 0; // number of exchanges that failed
let lastReason = "";

function hex() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- talking to the server ---

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ kind, page, ...body }),
  });
  if (response.ok) return response.json();
  const text = await response.text();
  const error = new Error(response.headers.get("content-type")?.includes("json") ? JSON.parse(text).error : text);
  error.status = response.status;
  throw error;
}

// Return the decisions that earlier pages could not send, in their order.
function readUnsent() {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(storage));
  return names.map((name) => JSON.parse(localStorage.getItem(name))).sort((a, b) => a.at - b.at);
}

// Send the pending decisions and fetch the next views, one exchange at a time. Resolves when everything was sent.
function exchange() {
  if (talking) {
    again = true;
    return talking;
  }
  talking = (async () => {
    do {
      again = false;
      const decisions = pending.slice(0, 50);
      const passed = later;
      later = [];
      try {
        const answer = await post("/api/sitting", { candidate, want: AHEAD, decisions, later: passed, have: have() });
        wait = 0;
        for (const one of answer.refused) warn(`A decision was not stored: ${one.error}`);
        for (const replaced of answer.replaced) showReplaced(replaced);
        const done = new Set([...answer.saved, ...[...answer.replaced, ...answer.refused].map((one) => one.id)]);
        pending = pending.filter((one) => !done.has(one.id));
        for (const id of done) localStorage.removeItem(storage + id);
        counts = answer.progress;
        const handed = new Set(answer.looks.map((look) => look.id));
        queue = queue.filter((look) => handed.has(look.id)); // the others were handed out to somebody else
        for (const look of answer.looks) take(look);
        if (!answer.refused.length && !answer.replaced.length) warn(unseen());
      } catch (error) {
        failures += 1;
        later = [...passed, ...later];
        const kept = pending.length ? ` ${pending.length} decisions are kept in this browser.` : "";
        if (error.status) {
          warn(`${error.message}${kept}`);
          break;
        }
        wait = Math.min(10, wait * 2 || 0.5);
        warn(`The server does not answer. Trying again.${kept}`);
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
        again = true;
      }
    } while (again || pending.length);
  })().finally(() => {
    talking = null;
    progress();
    if (!current && !looking) next();
  });
  return talking;
}

// Return the ids of the views on this page, because the server forgets them when it stops.
function have() {
  return [current, ...queue].filter((look) => look && !decided.has(look.id)).map((look) => look.id);
}

// Send everything once, and return whether that succeeded.
async function sent() {
  const before = failures;
  await exchange();
  return failures === before && !pending.length;
}

// The view was decided before on another page of this reviewer, and that decision counts.
function showReplaced(replaced) {
  const word = replaced.decision ?? chosen(replaced.best + 1);
  decided.set(replaced.look, word);
  if (last?.id === replaced.look) showDecision(last);
  warn(`You judged this pair before, and that decision counts: ${word} ${replaced.reason ?? ""}`.trimEnd().replaceAll("_", " ") + ".");
}

function take(look) {
  if (decided.has(look.id) || look.id === current?.id || queue.some((one) => one.id === look.id)) return;
  load(look);
  queue.push(look);
  if (!current && !looking) next();
}

function load(look) {
  look.error = null;
  look.ready = Promise.all(look.images.map(fetchPicture)).then(
    (images) => (look.bitmaps = images),
    (error) => (look.error = error.message),
  );
}

// --- showing ---

async function next() {
  const asked = performance.now();
  current = queue.shift() ?? null;
  looking = false;
  panel.hidden = true;
  if (!current) {
    viewer.clear();
    root.dataset.look = "";
    root.dataset.state = talking ? "loading" : "finished";
    say(talking ? "Loading." : candidate ? "" : finished());
    progress();
    return;
  }
  await show(current, asked);
}

async function show(look, asked) {
  const failed = Boolean(look.error);
  if (!look.bitmaps) {
    viewer.clear(); // do not show the pair that was judged before
    root.dataset.state = "loading";
    find("about").textContent = "Loading.";
    find("key").textContent = look.key;
    find("canvas").setAttribute("aria-label", "Loading");
    if (!look.ready || failed) load(look); // fetch again what failed while it was fetched ahead
    progress();
    await look.ready;
  }
  if (current !== look || looking) return;
  if (look.error) {
    warn(unseen());
    setTimeout(() => current === look && !looking && !look.bitmaps && show(look, asked), RETRY_MS);
    return;
  }
  if (failed) warn("");
  seen = 0;
  begun = document.hidden ? null : performance.now();
  viewer.show(look.bitmaps);
  viewer.paint(); // at once, not at the next frame
  updateControls();
  root.dataset.look = look.id;
  root.dataset.state = "shown";
  root.dataset.latency = (performance.now() - asked).toFixed(1);
  find("about").textContent = `${look.about}, ${look.width} × ${look.height}`;
  find("key").textContent = look.key;
  find("canvas").setAttribute("aria-label", described(look));
  if (look.decided) {
    decided.set(look.id, look.decided);
    last = look;
    showDecision(look);
  }
  progress();
}

// Return why the current pair cannot be shown; "" if it can.
function unseen() {
  const later = kind === "judge" ? "; N postpones it" : "";
  return current?.error ? `${current.key}: ${current.error.trim()} Trying again${later}.` : "";
}

function described(look) {
  const what = kind === "study" ? `${look.images.length - 1} restorations` : "photograph and restoration";
  return `${what}, ${look.about}, ${look.width} by ${look.height} pixels, key ${look.key}`;
}

function finished() {
  return kind === "study" ? "All comparisons are made. Thank you." : "All pairs are judged. Thank you.";
}

function showDecision(look) {
  const words = { keep: "Kept", reject: "Rejected", unsure: "Unsure", undone: "Undone" };
  const what = decided.get(look.id) ?? "";
  say(`${words[what] ?? what}. Z undoes it${kind === "study" ? "" : ", E shows its evidence"}.`);
}

function say(text) {
  find("status").textContent = text;
}

function warn(text) {
  find("warning").textContent = text;
  find("warning").hidden = !text;
}

function progress() {
  const rate = count >= 10 && total ? ` · ${Math.round((3600 * count) / total)} an hour` : "";
  const unsaved = pending.length ? ` · ${pending.length} being saved` : "";
  find("progress").textContent = `${counts.judged} judged · ${counts.waiting} waiting${rate}${unsaved}`;
  root.dataset.pending = String(pending.length);
  for (const button of document.querySelectorAll("[data-decides]")) button.disabled = !decidable();
}

function decidable() {
  return Boolean(current && current.bitmaps && !looking && !decided.has(current.id));
}

// --- deciding ---

function seconds() {
  return (seen + (begun === null ? 0 : performance.now() - begun)) / 1000;
}

function decide(made, word) {
  if (!decidable()) return;
  const took = Math.round(seconds() * 1000) / 1000;
  total += took;
  count += 1;
  const fact = { id: hex(), look: current.id, seconds: took, at: Date.now(), ...made };
  pending.push(fact);
  localStorage.setItem(storage + fact.id, JSON.stringify(fact));
  decided.set(current.id, word);
  last?.bitmaps && last !== current && closeBitmaps(last);
  last = current;
  if (candidate) {
    showDecision(current);
    progress();
  } else {
    next();
    if (current) showDecision(last);
  }
  exchange();
}

function closeBitmaps(look) {
  for (const bitmap of look.bitmaps) bitmap.close();
  look.bitmaps = look.ready = null;
}

function reject() {
  if (!decidable()) return;
  reasons.showModal();
  const usual = reasons.querySelector(`[data-reason="${lastReason}"]`) ?? reasons.querySelector("[data-reason]");
  usual?.focus();
}

function because(reason) {
  lastReason = reason;
  reasons.close();
  decide({ decision: "reject", reason }, "reject");
}

function postpone() {
  if (!current || looking || candidate || kind === "study") return;
  later.push(current.id);
  next();
  say("Postponed: it comes again at the end.");
  exchange();
}

async function undo() {
  if (!last && !counts.judged) return;
  if (!(await sent())) {
    say("Nothing was undone."); // a later request would undo another decision
    return;
  }
  let answer;
  try {
    answer = await post("/api/undo", { id: hex() });
  } catch (error) {
    warn(error.status ? error.message : "The server does not answer. Nothing was undone.");
    return;
  }
  counts = answer.progress;
  if (!answer.look) {
    say("There is nothing to undo.");
    progress();
    return;
  }
  const look = last?.id === answer.look.id && last.bitmaps ? last : answer.look;
  delete look.decided;
  decided.delete(look.id);
  last = null;
  looking = false;
  panel.hidden = true;
  if (candidate && look.id !== current?.id) {
    say("Your last decision was on another pair. It is undone, and the pair waits for you again.");
    progress();
    return;
  }
  if (current && current.id !== look.id) queue.unshift(current);
  queue = queue.filter((one) => one.id !== look.id);
  current = look;
  await show(look, performance.now());
  say("Undone. Judge this pair again.");
}

// --- evidence ---

async function evidence() {
  if (kind === "study") return;
  if (looking) return back();
  if (!panel.hidden) {
    panel.hidden = true;
    viewer.set({ boxes: [] });
    return;
  }
  const look = showEvidence || (current && decided.has(current.id)) ? current : last;
  if (!look) {
    say("Evidence is shown only for pairs that you have judged.");
    return;
  }
  let found;
  try {
    if (!(await sent()) || (look !== current && look !== last)) return;
    const response = await fetch(`/api/evidence/${look.id}`);
    found = await response.json();
    if (!response.ok) throw new Error(found.error);
  } catch (error) {
    say(error.message);
    return;
  }
  if (look !== current) {
    seen = seconds() * 1000; // the pair that waits is not visible meanwhile
    begun = null;
    looking = true;
    root.dataset.look = look.id;
    viewer.show(look.bitmaps);
    say("The pair that you judged last. Z undoes the decision, E goes back.");
  }
  write(found);
  panel.hidden = false;
  viewer.set({ boxes: found.boxes });
  progress();
}

function back() {
  looking = false;
  panel.hidden = true;
  if (current) {
    const before = seen;
    show(current, performance.now()).then(() => (seen = before));
  } else next();
  say("");
}

function write(found) {
  const rows = (id, list) =>
    find(id).replaceChildren(
      ...list.map((cells) => {
        const row = document.createElement("tr");
        for (const cell of cells) row.insertCell().textContent = String(cell);
        return row;
      }),
    );
  find("defects").previousElementSibling.hidden = !found.boxes.length;
  rows("facts", found.facts);
  rows("scores", found.scores);
  rows("defects", found.boxes.map((box) => [box.kind, box.severity]));
  rows("rules", (found.rules ?? []).map((rule) => [rule]));
}

// --- keys, buttons, pointers ---

function view(mode) {
  if (mode === "all") viewer.set({ mode: "side", side: viewer.labels.map((_, at) => at) });
  else viewer.set({ mode, side: kind === "study" ? viewer.labels.map((_, at) => at).slice(1) : [0, 1] });
}

function updateControls() {
  const all = viewer.mode === "side" && kind === "study" && viewer.side.length === viewer.labels.length;
  controls.update(all ? "all" : viewer.mode);
}

const actions = {
  keep: () => decide({ decision: "keep", reason: "" }, "keep"),
  reject,
  unsure: () => decide({ decision: "unsure", reason: "" }, "unsure"),
  undo,
  later: postpone,
  evidence,
  help: () => help.showModal(),
  ...controls.actions,
};
const keys = { z: "undo", backspace: "undo", "?": "help", h: "help" };
if (kind !== "study") Object.assign(keys, { k: "keep", r: "reject", u: "unsure", n: "later", e: "evidence" });

function choose(place) {
  if (place > Number(root.dataset.best) || !current || place > current.images.length - 1) return;
  decide({ best: place - 1 }, chosen(place));
}

function chosen(place) {
  return place ? `You chose ${place}` : "No difference";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (reasons.open) {
    const button = reasons.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (button) {
      event.preventDefault();
      because(button.dataset.reason);
    }
    return;
  }
  if (help.open) {
    if (key === "?" || key === "h") help.close();
    return;
  }
  if (key === "=" && kind === "study") return; // it could be taken for "no difference"
  if (key === "escape" && looking) back();
  else if (/^[0-9]$/.test(key)) {
    if (event.repeat) return;
    if (kind === "study") choose(Number(key));
    else controls.digit(key);
  } else if (controls.key(event)) return;
  else if (keys[key] && !event.repeat) {
    event.preventDefault();
    actions[keys[key]]();
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    seen = seconds() * 1000;
    begun = null;
  } else if (current && !looking) begun = performance.now();
});
for (const button of document.querySelectorAll("[data-action]"))
  button.addEventListener("click", () => actions[button.dataset.action]());
for (const button of document.querySelectorAll("[data-choice]"))
  button.addEventListener("click", () => choose(Number(button.dataset.choice)));
for (const button of reasons.querySelectorAll("[data-reason]"))
  button.addEventListener("click", () => because(button.dataset.reason));
for (const button of document.querySelectorAll("[data-close]"))
  button.addEventListener("click", () => button.closest("dialog").close());
window.addEventListener("pagehide", () => {
  navigator.sendBeacon("/api/release", new Blob([JSON.stringify({ page })], { type: "application/json" }));
});
window.addEventListener("beforeunload", (event) => pending.length && event.preventDefault());
// renew the leases, so that the views of this page are not handed out to others
setInterval(() => !document.hidden && exchange(), 30_000);

if (kind === "study") {
  const n = Number(root.dataset.best);
  viewer.labels = ["photograph", ...Array.from({ length: n }, (_, at) => String(at + 1))];
  viewer.two = [1, 2];
  view("all");
} else {
  viewer.labels = ["photograph", "restoration"];
  view("wipe");
}
exchange();
