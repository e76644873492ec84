// Two or more images of one size on a canvas, zoomed and panned together. An image pixel is a whole number of screen
// pixels, so nothing is resampled at 1:1 and above. An image that is larger than its pane is shrunk to fit.

const STEPS = [1, 2, 3, 4, 6, 8]; // screen pixels for each image pixel
const GAP = 2;
const GRIP = 24; // a drag that begins within so many pixels of the wipe's edge moves it

export class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.changed = changed; // called after zoom, wipe or view has changed
    this.images = []; // ImageBitmap
    this.labels = [];
    this.side = [0, 1]; // numbers of the images that are shown side by side
    this.two = [0, 1]; // numbers of the images that are wiped, blinked and subtracted
    this.mode = "wipe"; // wipe | side | difference
    this.zoom = "fit"; // or one of STEPS
    this.center = [0.5, 0.5]; // of the visible part, as shares of the image
    this.wipe = 0.5; // share of the pane that shows the first image
    this.gain = 4; // of the difference
    this.only = null; // number of the image that every pane shows while a key is held
    this.boxes = []; // drawn over all images: {kind, severity, x0, y0, x1, y1}
    this.pointers = new Map();
    this.drag = null;
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoomTo(this.zoom === "fit" ? 1 : "fit", this.at(event)));
  }

  show(images) {
    this.images = images;
    this.boxes = [];
    this.center = [0.5, 0.5];
    this.draw();
  }

  clear() {
    this.show([]);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.set({});
  }

  panes() {
    const { width, height } = this.canvas;
    if (this.mode !== "side") return [{ x: 0, y: 0, w: width, h: height, image: null }];
    const n = this.side.length;
    const tall = height > width;
    const each = Math.floor(((tall ? height : width) - GAP * (n - 1)) / n);
    return this.side.map((image, i) =>
      tall
        ? { x: 0, y: i * (each + GAP), w: width, h: each, image }
        : { x: i * (each + GAP), y: 0, w: each, h: height, image },
    );
  }

  fit(pane) {
    const { width, height } = this.images[0];
    const share = Math.min(pane.w / width, pane.h / height);
    return share < 1 ? share : Math.min(Math.floor(share), STEPS.at(-1));
  }

  scale(pane) {
    return this.zoom === "fit" ? this.fit(pane) : this.zoom;
  }

  // The left upper corner of the picture, in whole pixels of the canvas.
  origin(pane) {
    const { width, height } = this.images[0];
    const scale = this.scale(pane);
    const place = (start, room, size, center) =>
      size * scale <= room
        ? Math.round(start + (room - size * scale) / 2)
        : Math.round(
            Math.min(start, Math.max(start + room - size * scale, start + room / 2 - center * size * scale)),
          );
    return [place(pane.x, pane.w, width, this.center[0]), place(pane.y, pane.h, height, this.center[1])];
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const { context, canvas } = this;
    context.globalCompositeOperation = "source-over";
    context.fillStyle = getComputedStyle(canvas).getPropertyValue("--surround").trim() || "#777";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.images.length) return;
    for (const pane of this.panes()) {
      const [a, b] = this.two;
      if (this.only !== null) this.pane(pane, this.only);
      else if (pane.image !== null) this.pane(pane, pane.image);
      else if (this.mode === "difference") this.difference(pane, a, b);
      else {
        const edge = Math.round(this.wipe * pane.w);
        this.pane({ ...pane, from: edge }, b);
        this.pane({ ...pane, to: edge }, a);
        context.fillStyle = "#fff";
        context.fillRect(pane.x + edge - 1, pane.y, 2, pane.h);
        context.fillStyle = "rgba(0, 0, 0, .55)";
        context.fillRect(pane.x + edge + 1, pane.y, 1, pane.h);
      }
    }
    this.painted = performance.now();
  }

  pane(pane, image) {
    const { context } = this;
    const from = pane.from ?? 0;
    const to = pane.to ?? pane.w;
    if (to <= from) return;
    context.save();
    context.beginPath();
    context.rect(pane.x + from, pane.y, to - from, pane.h);
    context.clip();
    this.put(pane, this.images[image]);
    this.frame(pane);
    this.label(pane, from, to, this.labels[image] ?? "");
    context.restore();
  }

  put(pane, picture) {
    const { context } = this;
    const scale = this.scale(pane);
    const [left, top] = this.origin(pane);
    context.imageSmoothingEnabled = scale < 1;
    context.imageSmoothingQuality = "high";
    if (scale < 1) {
      context.drawImage(picture, left, top, picture.width * scale, picture.height * scale);
      return;
    }
    const first = (start, place) => Math.max(0, Math.floor((start - place) / scale));
    const last = (end, place, size) => Math.min(size, Math.ceil((end - place) / scale));
    const [x0, y0] = [first(pane.x, left), first(pane.y, top)];
    const [x1, y1] = [last(pane.x + pane.w, left, picture.width), last(pane.y + pane.h, top, picture.height)];
    if (x1 <= x0 || y1 <= y0) return;
    context.drawImage(
      picture, x0, y0, x1 - x0, y1 - y0, left + x0 * scale, top + y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale,
    );
  }

  difference(pane, a, b) {
    const { context } = this;
    context.fillStyle = "#000";
    context.fillRect(pane.x, pane.y, pane.w, pane.h);
    this.put(pane, this.images[a]);
    context.globalCompositeOperation = "difference";
    this.put(pane, this.images[b]);
    context.globalCompositeOperation = "lighter"; // onto itself: twice as bright each time
    for (let gain = 1; gain < this.gain; gain *= 2)
      context.drawImage(this.canvas, pane.x, pane.y, pane.w, pane.h, pane.x, pane.y, pane.w, pane.h);
    context.globalCompositeOperation = "source-over";
    this.frame(pane);
    this.label(pane, 0, pane.w, `difference × ${this.gain}`);
  }

  frame(pane) {
    const { context } = this;
    const ratio = window.devicePixelRatio || 1;
    const scale = this.scale(pane);
    const [left, top] = this.origin(pane);
    const { width, height } = this.images[0];
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "bottom";
    for (const box of this.boxes) {
      const [x, y] = [Math.round(left + box.x0 * width * scale), Math.round(top + box.y0 * height * scale)];
      const w = Math.round((box.x1 - box.x0) * width * scale);
      const h = Math.round((box.y1 - box.y0) * height * scale);
      context.lineWidth = 4 * ratio;
      context.strokeStyle = "#000";
      context.strokeRect(x, y, w, h);
      context.lineWidth = 2 * ratio;
      context.strokeStyle = "#ffd23f";
      context.strokeRect(x, y, w, h);
      const text = `${box.kind}, ${box.severity}`;
      const wide = context.measureText(text).width + 8 * ratio;
      const above = y - 18 * ratio > pane.y;
      context.fillStyle = "rgba(0, 0, 0, .75)";
      context.fillRect(x, above ? y - 18 * ratio : y, wide, 18 * ratio);
      context.fillStyle = "#ffd23f";
      context.fillText(text, x + 4 * ratio, above ? y - 2 * ratio : y + 16 * ratio);
    }
  }

  label(pane, from, to, text) {
    const { context } = this;
    const ratio = window.devicePixelRatio || 1;
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    const wide = context.measureText(text).width + 16 * ratio;
    const right = from > 0; // the second of two that are wiped
    const x = right ? pane.x + to - wide - 8 * ratio : pane.x + from + 8 * ratio;
    const y = pane.y + 8 * ratio;
    context.fillStyle = "rgba(0, 0, 0, .6)";
    context.fillRect(x, y, wide, 24 * ratio);
    context.fillStyle = "#fff";
    context.textBaseline = "middle";
    context.fillText(text, x + 8 * ratio, y + 12.5 * ratio);
  }

  // --- what moves it ---

  set(changes) {
    Object.assign(this, changes);
    this.draw();
    this.changed();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  paneAt([x, y]) {
    return this.panes().find((p) => x < p.x + p.w + GAP && y < p.y + p.h + GAP) ?? this.panes()[0];
  }

  zoomTo(zoom, point) {
    if (!this.images.length) return;
    const pane = point ? this.paneAt(point) : this.panes()[0];
    const [px, py] = point ?? [pane.x + pane.w / 2, pane.y + pane.h / 2];
    const { width, height } = this.images[0];
    const before = this.scale(pane);
    const [left, top] = this.origin(pane);
    const spot = [(px - left) / before, (py - top) / before]; // stays under the pointer
    this.zoom = zoom;
    const after = this.scale(pane);
    this.center = [
      (spot[0] + (pane.x + pane.w / 2 - px) / after) / width,
      (spot[1] + (pane.y + pane.h / 2 - py) / after) / height,
    ];
    this.tame();
    this.set({});
  }

  zoomBy(direction, point) {
    if (!this.images.length) return;
    const pane = this.panes()[0];
    const [now, fit] = [this.scale(pane), this.fit(pane)];
    if (direction > 0) this.zoomTo(STEPS.find((step) => step > now) ?? STEPS.at(-1), point);
    else this.zoomTo([...STEPS].reverse().find((step) => step < now && step > fit) ?? "fit", point);
  }

  pan(dx, dy) {
    if (!this.images.length) return;
    const pane = this.panes()[0];
    const scale = this.scale(pane);
    const { width, height } = this.images[0];
    this.center = [this.center[0] - dx / (scale * width), this.center[1] - dy / (scale * height)];
    this.tame();
    this.set({});
  }

  // The middle stays where the picture still fills the pane, so that panning back answers at once.
  tame() {
    const pane = this.panes()[0];
    const scale = this.scale(pane);
    const { width, height } = this.images[0];
    const hold = (center, room, size) => {
      const half = Math.min(0.5, room / (2 * size * scale));
      return Math.min(1 - half, Math.max(half, center));
    };
    this.center = [hold(this.center[0], pane.w, width), hold(this.center[1], pane.h, height)];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const point = this.at(event);
    this.pointers.set(event.pointerId, point);
    const pane = this.panes()[0];
    const grip = GRIP * (window.devicePixelRatio || 1);
    const near = this.mode === "wipe" && Math.abs(point[0] - pane.x - this.wipe * pane.w) < grip;
    this.drag = this.pointers.size > 1 ? { pinch: this.spread() } : { wipe: near, last: point };
  }

  move(event) {
    if (!this.pointers.has(event.pointerId) || !this.drag) return;
    const point = this.at(event);
    this.pointers.set(event.pointerId, point);
    if (this.drag.pinch) {
      const ratio = this.spread() / this.drag.pinch;
      if (ratio > 1.3 || ratio < 0.77) {
        this.zoomBy(ratio > 1 ? 1 : -1, point);
        this.drag.pinch = this.spread();
      }
    } else if (this.drag.wipe) {
      this.set({ wipe: Math.min(1, Math.max(0, point[0] / this.panes()[0].w)) });
    } else {
      this.pan(point[0] - this.drag.last[0], point[1] - this.drag.last[1]);
      this.drag.last = point;
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.drag = null;
  }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  }

  wheel(event) {
    event.preventDefault();
    this.turned = (this.turned ?? 0) + event.deltaY;
    if (Math.abs(this.turned) < 40) return; // a touchpad sends many small turns
    this.zoomBy(this.turned < 0 ? 1 : -1, this.at(event));
    this.turned = 0;
  }
}
