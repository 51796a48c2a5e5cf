"use strict";
(() => {
  const all = (query, at = document) => [...at.querySelectorAll(query)];
  const SHOWN = 200; // rows that are in the page at a time

  // rows and curves of one trial or cell light up together
  const study = (at) => at.closest("[data-study]") || document;
  const light = (event) => {
    const at = event.target.closest("[data-trial], tr[data-cell], td[data-cell], .row[data-cell]");
    all(".hot").forEach((held) => held.classList.remove("hot"));
    all(".dim").forEach((held) => held.classList.remove("dim"));
    if (!at) return;
    const of = study(at);
    const same = at.dataset.trial
      ? all(`[data-trial="${CSS.escape(at.dataset.trial)}"]`, of)
      : all(`[data-cell="${at.dataset.cell}"]:not(section)`, of);
    same.forEach((held) => {
      held.classList.add("hot");
      const drawing = held.closest("svg");
      if (drawing) drawing.classList.add("dim");
    });
  };
  document.addEventListener("pointerover", light);
  document.addEventListener("focusin", light);

  // a table's rows: [cell, trial, texts ...] of those that are packed, elements of the others
  const tables = new Map();
  const textOf = (cell) => cell.textContent.trim();
  const hold = (table) => {
    const rows = all("tbody tr", table).map((element) => ({ element, texts: [...element.cells].map(textOf) }));
    const held = { table, body: table.tBodies[0], rows, needle: "", by: -1, down: false, shown: SHOWN };
    tables.set(table.closest("section").id, held);
    return held;
  };
  const element = (held, row) => {
    if (row.element) return row.element;
    const model = held.rows[0].element.cells;
    row.element = document.createElement("tr");
    row.element.dataset.cell = row.cell;
    if (row.trial) {
      row.element.dataset.trial = row.trial;
      row.element.id = `${study(held.table).id}-t-${row.trial.replace(/[^A-Za-z0-9_-]/g, "-")}`;
    }
    row.texts.forEach((text, at) => {
      const cell = document.createElement(at ? "td" : "th");
      if (!at) cell.scope = "row";
      cell.className = model[at].className;
      const section = `${study(held.table).id}-cell-${row.cell}`;
      if (!at && document.getElementById(section)) {
        const link = cell.appendChild(document.createElement("a"));
        link.href = `#${section}`;
        link.textContent = text;
      } else cell.textContent = text;
      row.element.append(cell);
    });
    return row.element;
  };
  const number = (text) => (/^[-+]?\d/.test(text) ? parseFloat(text) : NaN);
  const before = (a, b) => {
    const x = number(a), y = number(b);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b);
    return x - y;
  };
  const draw = (held) => {
    const found = held.rows.filter((row) => row.texts.join(" ").toLowerCase().includes(held.needle));
    if (held.by >= 0) {
      found.sort((a, b) => before(a.texts[held.by], b.texts[held.by]) * (held.down ? -1 : 1));
    }
    held.body.replaceChildren(...found.slice(0, held.shown).map((row) => element(held, row)));
    const section = held.table.closest("section");
    const count = section.querySelector(".count");
    if (count) count.textContent = `${Math.min(found.length, held.shown)} of ${found.length} rows`;
    const more = section.querySelector("[data-unpack]");
    if (more && held.unpacked) {
      more.textContent = `Show ${SHOWN} more`;
      more.parentElement.hidden = found.length <= held.shown;
    }
  };

  all("table.list").forEach((table) => {
    const held = hold(table);
    all("thead th", table).forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", async () => {
        await unpack(held);
        held.down = held.by === at ? !held.down : false;
        held.by = at;
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", held.down ? "descending" : "ascending");
        draw(held);
      });
    });
  });
  all(".tools").forEach((tools) => (tools.hidden = false));
  all("[data-filter]").forEach((field) => {
    field.addEventListener("input", async () => {
      const held = tables.get(field.dataset.filter);
      await unpack(held);
      held.needle = field.value.trim().toLowerCase();
      held.shown = SHOWN;
      draw(held);
    });
  });

  // what is packed: rows of large tables
  const unpack = async (held) => {
    const source = document.querySelector(`[data-packed="${held.table.closest("section").id}"]`);
    if (!source || held.unpacked) return;
    held.unpacked = true;
    const bytes = Uint8Array.from(atob(source.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const rows = JSON.parse(await new Response(stream).text());
    held.rows.push(...rows.map(([cell, trial, ...texts]) => ({ cell, trial, texts })));
  };
  all("[data-unpack]").forEach((button) => {
    button.addEventListener("click", async () => {
      const held = tables.get(button.dataset.unpack);
      if (held.unpacked) held.shown += SHOWN;
      else await unpack(held);
      draw(held);
    });
  });

  // what is wider than its place says so, as long as it is
  const wide = (held) => {
    const before = held.previousElementSibling;
    const hint = before && before.classList.contains("hint") ? before : document.createElement("p");
    if (hint !== before) {
      hint.className = "hint";
      hint.ariaHidden = "true";
      hint.textContent = "Wider than the page: scroll sideways \u2192";
      held.before(hint);
    }
    const rest = held.scrollWidth - held.clientWidth;
    hint.hidden = rest <= 1;
    held.classList.toggle("more", rest - held.scrollLeft > 1);
    held.classList.toggle("less", held.scrollLeft > 1);
  };
  const watch = new ResizeObserver((seen) => seen.forEach((entry) => wide(entry.target.closest(".scroll"))));
  all(".scroll").forEach((held) => {
    wide(held);
    held.addEventListener("scroll", () => wide(held), { passive: true });
    watch.observe(held);
    if (held.firstElementChild) watch.observe(held.firstElementChild);
  });

  // the contents mark what is being read
  const places = new Map();
  all(".contents a").forEach((link) => {
    const place = document.getElementById(link.hash.slice(1));
    if (place) places.set(place, link);
  });
  const read = () => {
    let now = null;
    for (const [place, link] of places) {
      link.removeAttribute("aria-current");
      if (place.getBoundingClientRect().top < innerHeight / 3) now = link;
    }
    if (now) now.setAttribute("aria-current", "true");
  };
  let due = 0;
  addEventListener("scroll", () => { cancelAnimationFrame(due); due = requestAnimationFrame(read); }, { passive: true });
  read();

  // an address may lead into a fold; paper has none
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();
  const contents = document.querySelector(".contents details");
  if (contents && matchMedia("(max-width: 67.9rem)").matches) contents.open = false;
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((fold) => (fold.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((fold) => (fold.open = false)));
})();
