"use strict";
// Make a slider of every pair of images, and let the small pictures choose the large pair.
for (const pair of document.querySelectorAll(".pair")) {
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = "0";
  slider.max = "100";
  slider.value = "50";
  slider.setAttribute("aria-label", `${pair.dataset.label}: share that shows the photograph`);
  const move = () => pair.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", move);
  pair.append(slider);
  pair.classList.add("wipe");
  move();
}
const slides = [...document.querySelectorAll(".slide")];
const choose = (chosen) => {
  slides.forEach((slide, number) => {
    slide.hidden = number !== chosen;
  });
  document.querySelectorAll("#choose button").forEach((button, number) => {
    button.setAttribute("aria-pressed", String(number === chosen));
  });
};
document.querySelectorAll("#choose button").forEach((button, number) => {
  button.addEventListener("click", () => choose(number));
});
if (slides.length > 1) {
  document.getElementById("choose").hidden = false;
  choose(0);
}
