"use strict";
(() => {
  const STEP = 6; // cards shown at a time
  const scores = JSON.parse(document.getElementById("scores").textContent); // [image][0: mean IoU, 1 + class]
  const cards = [...document.querySelectorAll(".card")];
  const table = document.getElementById("image-table");
  const rows = [...table.tBodies[0].rows];
  const state = { key: 0, worst: true, shown: STEP };

  // Numbers before what is absent, whichever the order.
  const compare = (a, b, rising) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return rising ? a - b : b - a;
  };

  function sortImages() {
    const score = (element) => scores[element.dataset.image][state.key];
    const inOrder = (a, b) => compare(score(a), score(b), state.worst);
    const ranked = [...rows].sort(inOrder);
    const present = ranked.filter((row) => score(row) !== null);
    const rank = new Map(present.map((row, index) => [row.dataset.image, index + 1]));
    table.tBodies[0].append(...ranked);
    document.getElementById("cards").append(...cards.sort(inOrder));
    let shown = 0;
    for (const card of cards) {
      const place = rank.get(card.dataset.image);
      card.hidden = place === undefined || shown >= state.shown;
      if (place === undefined) continue;
      shown += 1;
      card.querySelector(".score").textContent = `${(100 * score(card)).toFixed(1)} %`;
      card.querySelector(".rank").textContent = `${state.worst ? "worst" : "best"} ${place} of ${present.length}`;
    }
    document.getElementById("more").hidden = shown <= state.shown;
    const direction = state.worst ? "ascending" : "descending";
    for (const button of document.querySelectorAll("[data-key]")) {
      const chosen = Number(button.dataset.key) === state.key;
      if (button.classList.contains("chip")) button.setAttribute("aria-pressed", chosen);
      else button.closest("th").setAttribute("aria-sort", chosen ? direction : "none");
    }
    for (const button of document.querySelectorAll("[data-order]")) {
      button.setAttribute("aria-pressed", (button.dataset.order === "worst") === state.worst);
    }
  }

  function choose(key, worst) {
    Object.assign(state, { key, worst, shown: STEP });
    sortImages();
  }

  for (const button of document.querySelectorAll("[data-key]")) {
    button.addEventListener("click", () => {
      const key = Number(button.dataset.key);
      const again = key === state.key && !button.classList.contains("chip");
      choose(key, again ? !state.worst : state.worst);
    });
  }
  for (const button of document.querySelectorAll("[data-order]")) {
    button.addEventListener("click", () => choose(state.key, button.dataset.order === "worst"));
  }
  document.getElementById("more").addEventListener("click", () => {
    state.shown += STEP;
    sortImages();
  });
  for (const link of table.querySelectorAll("a")) {
    // The card of an image may be among those not yet shown.
    link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).hidden = false; });
  }

  for (const sortable of document.querySelectorAll("table.sortable")) {
    const heads = [...sortable.tHead.rows[0].cells];
    heads.forEach((head, column) => head.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "descending" || (column === 0 && head.getAttribute("aria-sort") === "none");
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = sortable.tBodies[0];
      const value = (row) => {
        const cell = row.cells[column];
        if (cell.dataset.value === undefined) return cell.textContent;
        return cell.dataset.value === "" ? null : Number(cell.dataset.value);
      };
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        return typeof x === "string" ? (rising ? 1 : -1) * x.localeCompare(y) : compare(x, y, rising);
      };
      body.append(...[...body.rows].sort(order));
    }));
  }
  sortImages();
})();
