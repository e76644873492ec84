// The page of one pair: its two images under the viewer.

import { Controls, fetchPicture } from "/shared/controls.js";
import { Viewer } from "/shared/viewer.js";

const root = document.getElementById("pair");
const find = (id) => document.getElementById(id);
const help = find("help");
const viewer = new Viewer(find("canvas"), () => controls.update(viewer.mode));
const controls = new Controls(viewer, (mode) => viewer.set({ mode }), ["wipe", "side", "difference"]);
const actions = { ...controls.actions, help: () => help.showModal() };
const LINKS = { n: "after", p: "before", b: "back" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (help.open) {
    if (key === "?" || key === "h") help.close();
    return;
  }
  if (/^[0-9]$/.test(key)) controls.digit(key);
  else if (controls.key(event)) return;
  else if (key === "?" || key === "h") help.showModal();
  else if (LINKS[key]) find(LINKS[key])?.click();
});
for (const button of document.querySelectorAll("[data-action]"))
  button.addEventListener("click", () => actions[button.dataset.action]());
for (const button of document.querySelectorAll("[data-close]"))
  button.addEventListener("click", () => button.closest("dialog").close());

viewer.labels = ["photograph (LQ)", "restoration (GT)"];
viewer.set({ mode: "wipe" });
try {
  viewer.show(await Promise.all([root.dataset.lq, root.dataset.gt].map(fetchPicture)));
  viewer.paint(); // at once, not at the next frame
  controls.update(viewer.mode);
  root.dataset.state = "shown";
} catch (error) {
  find("warning").textContent = error.message;
  find("warning").hidden = false;
  root.dataset.state = "failed";
}
