"use strict";
// Sorting, filtering, details and the theme. The page is complete without any of it.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const status = document.getElementById("status");

  // The sort key of a cell: its number if it has one, or else its text. Empty cells go last.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return null;
    const value = cell.dataset.v;
    if (value !== undefined) return value === "" ? null : Number(value);
    return cell.textContent.trim().toLowerCase() || null;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });

  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      if (head.dataset.fixed !== undefined) return;
      const button = document.createElement("button");
      button.type = "button";
      while (head.firstChild && head.firstChild.nodeName !== "SMALL") {
        button.append(head.firstChild);
      }
      button.textContent = button.textContent.trim();
      head.prepend(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row, place) => [key(row, column), place, row]);
        rows.sort(([a, i], [b, j]) => {
          if (a === null || b === null) return (a === null) - (b === null) || i - j;
          return (down ? -compare(a, b) : compare(a, b)) || i - j;
        });
        body.append(...rows.map(([, , row]) => row));
        const order = down ? "descending" : "ascending";
        head.setAttribute("aria-sort", order);
        status.textContent = `Sorted by ${button.textContent}, ${order}.`;
      });
    });
  }

  for (const controls of all(".controls")) {
    controls.hidden = false;
    const scope = document.getElementById(controls.dataset.scope);
    const [words, state] = ["input", "select"].map((name) => controls.querySelector(name));
    const count = controls.querySelector("output");
    const filter = () => {
      const wanted = words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const only = state ? state.value : "";
      let shown = 0;
      const rows = all("[data-row]", scope);
      for (const row of rows) {
        const text = (row.dataset.row + " " + row.textContent).toLowerCase();
        const matches =
          wanted.every((word) => text.includes(word)) && (!only || row.dataset.state === only);
        row.hidden = !matches;
        const details = row.dataset.details && document.getElementById(row.dataset.details);
        if (details) details.closest("details").hidden = !matches;
        shown += matches;
      }
      for (const fold of all("details.waiting", scope)) {
        fold.hidden = !all("[data-row]", fold).some((row) => !row.hidden);
        fold.open = !fold.hidden && (wanted.length > 0 || only !== "");
      }
      count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    };
    words.addEventListener("input", filter);
    if (state) state.addEventListener("change", filter);
    filter();
  }

  // What scrolls sideways can be reached by keyboard.
  const reachable = () => {
    for (const plot of all(".plot, .network")) {
      const wide = plot.scrollWidth > plot.clientWidth;
      if (wide) plot.tabIndex = 0;
      else plot.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", reachable);
  addEventListener("toggle", reachable, true);
  reachable();

  // A link to something inside closed details opens them, in every browser.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) {
      if (at.nodeName === "DETAILS") at.open = true;
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  const button = document.getElementById("theme");
  const root = document.documentElement;
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => (button.firstElementChild.textContent = dark() ? "Light" : "Dark");
  try {
    const kept = localStorage.getItem("theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* a browser without storage for local files */ }
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* as above */ }
  });
})();
