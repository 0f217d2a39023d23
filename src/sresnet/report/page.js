// Tables are sorted by the buttons in their headings: once up, once more down. Numbers as numbers, empty cells last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.querySelectorAll("thead th")];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => {
        const cell = row.cells[column];
        const number = cell.dataset.value;
        return [number === undefined ? cell.textContent.trim() : Number(number), row];
      });
      const rank = (key) => (key === "" || Number.isNaN(key) ? 2 : typeof key === "number" ? 0 : 1);
      keyed.sort(([a], [b]) => {
        if (rank(a) !== rank(b) || rank(a) === 2) return rank(a) - rank(b);
        const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
        return down ? -order : order;
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

// Charts tell the value that is pointed at, tapped, or reached with the arrow keys. Without scripts browsers show the
// titles of points, bars and cells, which are taken here so that there are not two.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);
for (const title of document.querySelectorAll("main svg :not(svg) > title")) {
  title.parentNode.dataset.told = title.textContent;
  title.remove();
}

// What a chart can tell, in its own units: places of points, boxes of bars and cells.
const found = new WeakMap();
function entriesOf(chart) {
  if (found.has(chart)) return found.get(chart);
  const entries = [];
  for (const each of chart.querySelectorAll("[data-told], [data-ys], [data-values]")) {
    const { told, name, x, xs, ys, values, columns } = each.dataset;
    if (told !== undefined) {
      const box = each.getBBox();
      const wide = each.tagName === "rect" ? box : null;
      entries.push({ x: box.x + box.width / 2, y: box.y + box.height / 2, box: wide, text: told });
    } else if (ys !== undefined) {
      const labels = xs.split("|"), numbers = ys.split("|");
      [...each.points].forEach((at, index) => {
        entries.push({ x: at.x, y: at.y, box: null, text: `${name}${x} ${labels[index]}: ${numbers[index]}` });
      });
    } else {
      const numbers = values.split("|"), places = columns.split("|");
      [...each.querySelectorAll("rect")].forEach((cell, index) => {
        const box = cell.getBBox();
        const text = `${name}${x} ${places[index]}: ${numbers[index]}`;
        entries.push({ x: box.x + box.width / 2, y: box.y + box.height / 2, box, text });
      });
    }
  }
  found.set(chart, entries);
  return entries;
}

const NEAR = 24; // pixels from a point at which it is meant
const MOST = 8; // lines that are told at once
let shown = null;
function hide() {
  tip.hidden = true;
  shown = null;
}
function tell(chart, entry) {
  const same = entriesOf(chart).filter((other) => Math.hypot(other.x - entry.x, other.y - entry.y) < 0.3);
  const lines = same.slice(0, MOST).map((other) => other.text);
  if (same.length > MOST) lines.push(`and ${same.length - MOST} more`);
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  shown = { chart, entry };
  const matrix = chart.getScreenCTM();
  const at = new DOMPoint(entry.x, entry.box ? entry.box.y : entry.y - 6).matrixTransform(matrix);
  const width = document.documentElement.clientWidth;
  const left = Math.max(4, Math.min(at.x - tip.offsetWidth / 2, width - tip.offsetWidth - 4));
  const above = at.y - tip.offsetHeight - 4;
  const below = new DOMPoint(entry.x, entry.box ? entry.box.y + entry.box.height : entry.y + 6).matrixTransform(matrix);
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above >= 0 ? above : below.y + 4) + scrollY}px`;
}
function pointed(chart, event) {
  const matrix = chart.getScreenCTM();
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
  let best = null, least = NEAR / matrix.a;
  for (const entry of entriesOf(chart)) {
    // To a box it is the way to its edge, so that small cells are found with a finger, too, and inside it is 0.
    const { box } = entry;
    const dx = box ? Math.max(box.x - at.x, 0, at.x - box.x - box.width) : entry.x - at.x;
    const dy = box ? Math.max(box.y - at.y, 0, at.y - box.y - box.height) : entry.y - at.y;
    const distance = Math.hypot(dx, dy) * (box ? 4 : 1);
    if (distance < least) [best, least] = [entry, distance];
  }
  if (best) tell(chart, best);
  else hide();
}
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function moved(chart, event) {
  if (event.key === "Escape") hide();
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  const [dx, dy] = KEYS[event.key];
  const now = shown && shown.chart === chart ? shown.entry : null;
  let best = now ?? entriesOf(chart)[0], least = Infinity;
  for (const entry of now ? entriesOf(chart) : []) {
    const along = (entry.x - now.x) * dx + (entry.y - now.y) * dy;
    const across = Math.abs((entry.x - now.x) * dy + (entry.y - now.y) * dx);
    // Points of a line rise and fall: sideways the next place counts, whatever its height; upwards what is straight above.
    const distance = dx ? along * 1000 + across : along + across * 1000;
    if (along > 0.5 && distance < least) [best, least] = [entry, distance];
  }
  tell(chart, best);
}
for (const chart of document.querySelectorAll("main svg[role=img]")) {
  if (!chart.querySelector("[data-told], [data-ys], [data-values]")) continue;
  chart.setAttribute("tabindex", "0");
  chart.setAttribute("aria-description", "Arrow keys tell its values.");
  chart.addEventListener("pointermove", (event) => pointed(chart, event));
  chart.addEventListener("pointerdown", (event) => pointed(chart, event));
  chart.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  chart.addEventListener("keydown", (event) => moved(chart, event));
  chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) tell(chart, entriesOf(chart)[0]); });
  chart.addEventListener("blur", hide);
}
document.addEventListener("pointerdown", (event) => { if (!event.target.closest("svg[role=img]")) hide(); });
document.addEventListener("scroll", (event) => { if (event.target !== document) hide(); }, true);
