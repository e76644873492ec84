// A map of pairs: a point for each, in the colour of its class, restorer or score.

const HUES = 12; // colours of names; further names are grey
const RADIUS = 3; // pixels
const REACH = 12; // pixels from the pointer within which a point is found

export class PairMap {
  constructor(canvas, card, thumbnail, url) {
    Object.assign(this, { canvas, card, thumbnail, url });
    this.points = [];
    this.near = -1; // number of the point that the card shows
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("click", () => this.near >= 0 && card.click());
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  draw(answer, split) {
    this.answer = answer;
    this.split = split;
    this.points = answer.points;
    this.near = -1;
    this.card.hidden = true;
  }

  // Choose the colour of every point, and write the legend.
  colourBy(name, legend) {
    const values = this.answer.colours[name];
    const numbers = values.filter((value) => typeof value === "number");
    const key = (text, colour) => {
      const entry = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = colour;
      entry.append(dot, String(text).replaceAll("_", " "));
      return entry;
    };
    if (numbers.length) {
      const sorted = [...numbers].sort((a, b) => a - b);
      const [low, high] = [0.02, 0.98].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
      const scale = (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
      const colour = (share) => `hsl(${260 - 220 * share} 75% ${42 + 14 * share}%)`;
      this.colours = values.map((value) => (value === null ? "#888" : colour(scale(value))));
      legend.replaceChildren(key(low, colour(0)), key((low + high) / 2, colour(0.5)), key(high, colour(1)));
    } else {
      const counts = new Map();
      for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
      const names = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
      const colours = new Map(
        names.map((value, i) => [value, i < HUES ? `hsl(${(i * 137.5) % 360} 65% 50%)` : "#888"]),
      );
      this.colours = values.map((value) => colours.get(value));
      legend.replaceChildren(...names.slice(0, HUES).map((value) => key(value, colours.get(value))));
    }
    this.paint();
  }

  place([, , x, y]) {
    const { width, height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const edge = 10 * ratio;
    return [edge + x * (width - 2 * edge), height - edge - y * (height - 2 * edge)];
  }

  // Draw all points, and keep the picture: with 20,000 points, to draw them again at each hover would be slow.
  paint() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (!this.colours) return;
    this.drawn = new OffscreenCanvas(canvas.width, canvas.height);
    const context = this.drawn.getContext("2d");
    context.globalAlpha = this.points.length > 3000 ? 0.5 : 0.85;
    this.points.forEach((point, i) => {
      const [x, y] = this.place(point);
      context.fillStyle = this.colours[i];
      context.beginPath();
      context.arc(x, y, RADIUS * ratio, 0, 7);
      context.fill();
    });
    this.mark();
  }

  // Draw a ring around the point that the card shows.
  mark() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.drawn, 0, 0);
    if (this.near < 0) return;
    const [x, y] = this.place(this.points[this.near]);
    context.lineWidth = 2 * ratio;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.beginPath();
    context.arc(x, y, 7 * ratio, 0, 7);
    context.stroke();
  }

  hover(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const [px, py] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    let [near, least] = [-1, (REACH * ratio) ** 2];
    this.points.forEach((point, i) => {
      const [x, y] = this.place(point);
      const distance = (x - px) ** 2 + (y - py) ** 2;
      if (distance < least) [near, least] = [i, distance];
    });
    if (near >= 0) this.show(near);
  }

  // The arrow keys go from point to point, from left to right; Enter opens the pair.
  key(event) {
    if (event.key === "Enter" && this.near >= 0) this.card.click();
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step || !this.points.length) return;
    event.preventDefault();
    const order = this.points.map((_, i) => i).sort((a, b) => this.points[a][2] - this.points[b][2]);
    const at = order.indexOf(this.near);
    this.show(order[(at + step + order.length) % order.length]);
  }

  show(number) {
    if (number === this.near) return;
    this.near = number;
    const [row, key] = this.points[number];
    const { card } = this;
    card.href = this.url(key);
    const image = card.querySelector("img");
    image.src = this.thumbnail(this.split, row);
    image.alt = `Photograph and restoration, key ${key}`;
    card.querySelector("span").textContent = `${this.answer.colours.degradation[number].replaceAll("_", " ")}, ${key}`;
    card.hidden = false;
    this.mark();
  }
}
