// Tables: a click on a heading sorts, words in the field filter.

function sortBy(table, column) {
  const headings = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  const numbers = rows.some((row) => row.cells[column].dataset.amount !== undefined);
  const before = headings[column].getAttribute("aria-sort");
  const descending = before ? before === "ascending" : numbers; // the largest number first
  for (const heading of headings) heading.removeAttribute("aria-sort");
  headings[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  rows.sort((a, b) => compared(a.cells[column], b.cells[column], descending ? -1 : 1));
  table.tBodies[0].append(...rows);
}

// Return which cell comes first. Cells without a number come last among numbers, in either order.
function compared(a, b, sign) {
  const [left, right] = [a.dataset.amount, b.dataset.amount];
  if (left !== undefined && right !== undefined) return sign * (Number(left) - Number(right));
  if (left !== undefined) return -1;
  if (right !== undefined) return 1;
  return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

// Show the rows that have all of these words.
function filterBy(details, text) {
  const words = text.toLowerCase().split(/\s+/);
  const rows = [...details.querySelector("tbody").rows];
  for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  const left = rows.filter((row) => !row.hidden).length;
  const all = rows.length === 1 ? "1 row" : `${rows.length} rows`;
  const count = left === rows.length ? all : `${left} of ${all}`;
  details.querySelector(".count").textContent = count;
}

for (const details of document.querySelectorAll("details.table")) {
  const table = details.querySelector("table");
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.addEventListener("click", () => sortBy(table, column)));
  details
    .querySelector(".filter")
    .addEventListener("input", (event) => filterBy(details, event.target.value));
}
