// Tables: a click on a heading sorts, words in the field filter.

function sortBy(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const numbers = [...table.tBodies[0].rows].some((row) => row.cells[column].dataset.amount !== undefined);
  const before = heading.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : numbers;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].sort((a, b) => compared(a.cells[column], b.cells[column], descending));
  table.tBodies[0].append(...rows);
}

// Cells without a number stand last among numbers, whatever the order.
function compared(a, b, descending) {
  const sign = descending ? -1 : 1;
  const [left, right] = [a.dataset.amount, b.dataset.amount];
  if (left !== undefined && right !== undefined) return sign * (Number(left) - Number(right));
  if (left !== undefined || right !== undefined) return left === undefined ? 1 : -1;
  return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

function filterBy(details, text) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...details.querySelector("tbody").rows];
  for (const row of rows) {
    const own = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => own.includes(word));
  }
  const left = rows.filter((row) => !row.hidden).length;
  details.querySelector(".count").textContent = left === rows.length ? `${left} rows` : `${left} of ${rows.length} rows`;
}

for (const details of document.querySelectorAll("details.table")) {
  const table = details.querySelector("table");
  [...table.tHead.rows[0].cells].forEach((cell, column) => cell.firstElementChild.addEventListener("click", () => sortBy(table, column)));
  details.querySelector(".filter").addEventListener("input", (event) => filterBy(details, event.target.value));
}
