// The buttons, keys and slider that steer a Viewer: views, blinking, zoom, panning and the wipe.

const BLINK_MS = 300; // milliseconds that each image is shown for
const HOLDS = { f: "photograph", g: "restoration", " ": "blink" };
const ARROWS = { arrowleft: [1, 0], arrowright: [-1, 0], arrowup: [0, 1], arrowdown: [0, -1] };
const KEYS = { v: "cycle", "+": "in", "=": "in", "-": "out", q: "fit", w: "pixel" };
const find = (id) => document.getElementById(id);

export class Controls {
  // viewer: its canvas is on the page, with #wipe, #zoom, [data-view] and [data-hold]
  // view: switches to a view by its name
  // modes: names of the views, in the order of the key V and of the keys 1, 2, ...
  constructor(viewer, view, modes) {
    this.viewer = viewer;
    this.view = view;
    this.modes = modes;
    this.blinking = null;
    this.actions = {
      in: () => viewer.zoomBy(1),
      out: () => viewer.zoomBy(-1),
      fit: () => viewer.zoomTo("fit"),
      pixel: () => viewer.zoomTo(1),
      cycle: () => view(modes[(modes.indexOf(this.pressed()) + 1) % modes.length]),
    };
    for (const button of document.querySelectorAll("[data-view]"))
      button.addEventListener("click", () => view(button.dataset.view));
    for (const button of document.querySelectorAll("[data-hold]")) {
      button.addEventListener("pointerdown", () => this.hold(button.dataset.hold));
      for (const name of ["pointerup", "pointerleave", "pointercancel"])
        button.addEventListener(name, () => this.release());
    }
    find("wipe").addEventListener("input", () => viewer.set({ wipe: Number(find("wipe").value) / 100 }));
    document.addEventListener("keyup", (event) => event.key.toLowerCase() in HOLDS && this.release());
    window.addEventListener("blur", () => this.release());
  }

  pressed() {
    return document.querySelector('[data-view][aria-pressed="true"]')?.dataset.view;
  }

  // Show the state of the viewer; `mode` is the name of its view.
  update(mode) {
    const { viewer } = this;
    find("wipe").disabled = viewer.mode !== "wipe"; // invisible, but it keeps its place
    find("wipe").value = String(Math.round(viewer.wipe * 100));
    for (const button of document.querySelectorAll("[data-view]"))
      button.setAttribute("aria-pressed", String(button.dataset.view === mode));
    const scale = viewer.images.length ? viewer.scale(viewer.panes()[0]) : 1;
    find("zoom").textContent = scale < 1 ? `${Math.floor(scale * 100)} %` : `${scale} : 1`;
  }

  hold(what) {
    const { viewer } = this;
    const [a, b] = viewer.two;
    if (what === "blink") {
      if (this.blinking) return;
      viewer.set({ only: a });
      this.blinking = setInterval(() => viewer.set({ only: viewer.only === a ? b : a }), BLINK_MS);
    } else viewer.set({ only: what === "photograph" ? 0 : b });
  }

  release() {
    clearInterval(this.blinking);
    this.blinking = null;
    if (this.viewer.only !== null) this.viewer.set({ only: null });
  }

  // Handle a key of the viewer. Returns whether it was one, so that nothing else handles it.
  key(event) {
    const { viewer } = this;
    const key = event.key.toLowerCase();
    if (event.target instanceof HTMLInputElement && key.startsWith("arrow")) return true; // the slider handles it
    if (event.target instanceof HTMLButtonElement && (key === " " || key === "enter")) return true; // so does a button
    if (key in HOLDS) {
      event.preventDefault();
      if (!event.repeat) this.hold(HOLDS[key]);
    } else if (key in ARROWS) {
      event.preventDefault();
      const step = (event.shiftKey ? 240 : 60) * (window.devicePixelRatio || 1);
      viewer.pan(ARROWS[key][0] * step, ARROWS[key][1] * step);
    } else if (key === "[" || key === "]")
      viewer.set({ wipe: Math.min(1, Math.max(0, viewer.wipe + (key === "[" ? -0.05 : 0.05))) });
    else if (key === "," || key === ".")
      viewer.set({ gain: Math.min(16, Math.max(1, key === "," ? viewer.gain / 2 : viewer.gain * 2)) });
    else if (KEYS[key]) {
      event.preventDefault();
      if (!event.repeat || "+-=".includes(key)) this.actions[KEYS[key]]();
    } else return false;
    return true;
  }

  // Handle a digit: 0 fits the image, 1 and above choose a view.
  digit(key) {
    if (key === "0") this.viewer.zoomTo("fit");
    else if (this.modes[key - 1]) this.view(this.modes[key - 1]);
  }
}

// Fetch an image without any conversion of colour, so that the pixels are those of the file.
export async function fetchPicture(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(await response.text());
  return createImageBitmap(await response.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}
