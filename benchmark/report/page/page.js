"use strict";
// The number that a cell begins with; "<0.001" comes before 0.001, and what is no number after all that are.
function value(cell) {
  const text = cell.textContent.replace(/,/g, "").replace("\u2212", "-");
  const found = /^\s*([<>]?)\s*([+-]?\d+(?:\.\d+)?)/.exec(text);
  if (!found) return null;
  return Number(found[2]) + (found[1] === "<" ? -1e-9 : found[1] === ">" ? 1e-9 : 0);
}
function sort(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0], rows = Array.from(body.rows), sign = down ? -1 : 1;
  const numeric = rows.some(row => value(row.cells[column]) !== null);
  rows.sort((one, two) => {
    const [a, b] = [one.cells[column], two.cells[column]];
    if (!numeric) return sign * a.textContent.localeCompare(b.textContent, "en", {numeric: true});
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x - y);
  });
  body.append(...rows);
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
}
for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, column, header));
    header.append(button);
  });
}
// A link into a fold opens it; paper shows all of them.
function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", open);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(fold => { fold.open = true; }));
open();
