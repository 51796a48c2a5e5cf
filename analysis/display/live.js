"use strict";
(() => {
  const SHOWN = 2000, HIDDEN = 20000; // milliseconds between two questions
  const at = (name, of = document) => of.querySelector(`[${name}]`);
  const make = (tag, text, kind) => {
    const held = document.createElement(tag);
    if (text !== undefined) held.textContent = text;
    if (kind) held.className = kind;
    return held;
  };
  const NS = "http://www.w3.org/2000/svg";
  const draw = (tag, given) => {
    const held = document.createElementNS(NS, tag);
    Object.entries(given).forEach(([name, value]) => held.setAttribute(name, value));
    return held;
  };

  // seconds since a moment, in words; the server's clock is this machine's, or that of the tunnel's end
  let ahead = 0;
  const ago = (moment) => {
    const seconds = Math.max(0, (Date.now() + ahead - Date.parse(moment)) / 1000);
    if (seconds < 90) return `${Math.round(seconds)} s ago`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
    return `${Math.round(seconds / 3600)} h ago`;
  };

  const row = (texts, wide = () => "") => {
    const held = make("tr");
    texts.forEach((text, n) => {
      const cell = make(n ? "td" : "th", text, wide(n));
      if (!n) cell.scope = "row";
      held.append(cell);
    });
    return held;
  };
  const part = (of, name, any) => {
    const held = at(`data-part="${name}"`, of);
    held.hidden = !any;
    return held;
  };

  const jobs = (of, run) => {
    const held = part(of, "jobs", run.jobs.length);
    at("data-metric", held).textContent = run.metric;
    held.querySelector("tbody").replaceChildren(...run.jobs.map((job) => {
      const made = row(
        [job.trial, job.cell, job.config, job.stage, `${job.epoch}/${job.to}`, job.value, job.pace, job.left, ""],
        (n) => (n > 3 ? "num" : ""),
      );
      made.lastChild.dataset.told = job.told;
      return made;
    }));
  };
  const LONG = 3; // columns at the end that are text
  const cells = (of, run) => {
    const held = part(of, "cells", run.cells.length);
    const kind = (n) => (n && n < run.head.length - LONG + 1 ? "num" : "");
    held.querySelector("thead tr").replaceChildren(...run.head.map((name, n) => {
      const head = make("th", name, kind(n));
      head.scope = "col";
      return head;
    }));
    held.querySelector("tbody").replaceChildren(...run.cells.map((texts) => row(texts, kind)));
  };
  const lost = (of, run) => {
    const held = part(of, "lost", run.lost.length);
    held.querySelector("tbody").replaceChildren(...run.lost.map((texts) => row(texts, (n) => (n === 3 ? "words" : ""))));
    at("data-more", held).textContent = run.more_lost ? `${run.more_lost} more, earlier ones.` : "";
  };
  const drawing = (curve) => {
    const figure = make("figure");
    const caption = make("figcaption");
    caption.append(make("b", curve.label), ` ${curve.name} by epoch${curve.more ? `; ${curve.more} more trials are not drawn` : ""}`);
    const canvas = make("div", undefined, "canvas");
    const svg = draw("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": `${curve.name} over the epochs, ${curve.label}` });
    curve.rungs.forEach((rung) => svg.append(draw("line", { class: "rule", x1: rung.at, x2: rung.at, y1: 0, y2: 100 })));
    curve.lines.forEach((line) => {
      const held = draw("polyline", { class: line.seed ? "own" : "", points: line.points });
      const title = draw("title", {});
      title.textContent = line.trial;
      held.append(title);
      svg.append(held);
    });
    canvas.append(svg);
    curve.levels.forEach((tick) => {
      const held = make("i", tick.text, "level");
      held.style.bottom = `${tick.at}%`;
      canvas.append(held);
    });
    curve.rungs.forEach((rung) => {
      const held = make("i", rung.text, "epoch");
      held.style.left = `${rung.at}%`;
      canvas.append(held);
    });
    figure.append(caption, canvas);
    return figure;
  };
  const curves = (of, run) => {
    const held = part(of, "curves", run.curves.length);
    held.querySelector(".drawings").replaceChildren(...run.curves.map(drawing));
    at("data-more", held).textContent = run.more_curves ? `${run.more_curves} more cells have curves and are not drawn here.` : "";
  };

  const GOOD = ["running", "done", "IMPORTED", "not begun"];
  const show = (of, run) => {
    at("data-name", of).textContent = run.name;
    const stand = at("data-stand", of);
    if (stand.textContent !== run.state) stand.textContent = run.state; // else it is read out again
    stand.dataset.state = run.state;
    stand.classList.toggle("bad", !GOOD.includes(run.state));
    at("data-title", of).textContent = run.title;
    const outlook = at("data-outlook", of);
    outlook.hidden = !run.outlook;
    if (run.outlook) {
      const bar = outlook.querySelector("progress");
      bar.max = Math.max(run.outlook.all, 1);
      bar.value = run.outlook.done;
      at("data-eta", of).textContent = run.outlook.text;
    }
    const said = at("data-said", of);
    said.hidden = !run.said.length;
    said.replaceChildren(...run.said.map((text) => make("p", text)));
    at("data-reports", of).hidden = !run.frames && !run.report;
    at("data-build", of).hidden = !run.frames;
    const report = at("data-report", of);
    report.hidden = !run.report;
    report.href = `/runs/${of.dataset.run}/report/index.html`;
    at("data-made", of).dataset.made = run.report;
    [jobs, cells, curves, lost].forEach((fill) => fill(of, run));
  };

  const tick = () => {
    document.querySelectorAll("[data-told]").forEach((held) => (held.textContent = ago(held.dataset.told)));
    document.querySelectorAll("[data-made]").forEach((held) => {
      held.textContent = held.dataset.made ? `built ${ago(held.dataset.made)}` : "";
    });
  };
  let version = "", answered = Date.now(), waits = 0;
  const ask = async () => {
    clearTimeout(waits);
    try {
      const answer = await fetch(`/state?since=${encodeURIComponent(version)}`, { cache: "no-store" });
      const date = Date.parse(answer.headers.get("Date"));
      if (Math.abs(date - Date.now()) > 5000) ahead = date - Date.now();
      if (answer.status === 200) {
        const held = await answer.json();
        version = held.version;
        document.querySelectorAll(".run").forEach((of) => show(of, held.runs[of.dataset.run]));
      } else if (answer.status !== 204) throw new Error(answer.status);
      answered = Date.now();
      document.getElementById("lost").hidden = true;
    } catch {
      document.getElementById("last").textContent = new Date(answered).toLocaleTimeString();
      document.getElementById("lost").hidden = false;
    }
    tick();
    waits = setTimeout(ask, document.hidden ? HIDDEN : SHOWN);
  };
  document.addEventListener("visibilitychange", () => document.hidden || ask());

  document.querySelectorAll("[data-build]").forEach((button) => {
    button.addEventListener("click", async () => {
      const of = button.closest(".run"), told = at("data-building", of);
      button.disabled = true;
      told.textContent = "building, which may take a minute";
      try {
        const answer = await fetch(`/runs/${of.dataset.run}/build`, { method: "POST", headers: { "X-Watch": "build" } });
        const held = await answer.json();
        told.textContent = held.error ? `not built: ${held.error}` : "";
        if (held.url) {
          const link = make("a", `Report of ${new Date().toLocaleTimeString()}`);
          link.href = held.url;
          told.append(link);
        }
      } catch {
        told.textContent = "not built: no answer";
      }
      button.disabled = false;
    });
  });
  ask();
})();
