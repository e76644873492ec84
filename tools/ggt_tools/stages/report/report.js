"use strict";
// Make a slider of every pair of images, and filter the page by class and restorer.
for (const pair of document.querySelectorAll(".pair")) {
  if (pair.querySelectorAll("img").length !== 2) continue;
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = "0";
  slider.max = "100";
  slider.value = "50";
  slider.setAttribute("aria-label", `Wipe ${pair.dataset.label}: share that shows the photograph`);
  const move = () => pair.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", move);
  pair.append(slider);
  pair.classList.add("wipe");
  move();
}
const filters = document.getElementById("filters");
const chosen = (name) => filters.querySelector(`[name=${name}]`).value;
function filter() {
  for (const name of ["class", "restorer"]) {
    const value = chosen(name);
    for (const element of document.querySelectorAll(`[data-${name}]`))
      element.classList.toggle(`other-${name}`, value !== "" && element.dataset[name] !== value);
  }
  for (const group of document.querySelectorAll("[data-group]"))
    group.hidden = !group.querySelector("[data-class]:not(.other-class):not(.other-restorer)");
}
filters.hidden = false;
filters.addEventListener("change", filter);
filter();
