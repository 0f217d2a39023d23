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
