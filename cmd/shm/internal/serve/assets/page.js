"use strict";
// The page shows what the stream of /events sends: an event "view" names rows, and an event
// "frame" has what they are at a moment. All texts come from memory that others write, so
// they only ever become textContent.
(() => {
  const kept = 120; // points of a chart
  const mostHistories = 2000;
  const held = 1, dead = 2, abandoned = 4, unreadable = 8;
  const $ = (id) => document.getElementById(id);
  const el = (tag, className, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const set = (e, text) => { if (e.textContent !== text) e.textContent = text; };

  const query = new URLSearchParams(location.search);
  let segment = query.get("seg") || "";
  let filter = query.get("q") || "";
  let open = ""; // key of the row that is looked at closely
  let view = null, frame = null, file = "";
  let source = null, again = 0;
  let asked = ""; // the query of the stream
  const histories = new Map(); // key of a row: {t, y}
  const rows = []; // elements, of which each shows one row of the view

  // ---- numbers

  const grouped = (text) => {
    const m = /^(-?)(\d{5,})$/.exec(text);
    return m ? m[1] + m[2].replace(/\B(?=(\d{3})+$)/g, "\u2009") : text;
  };
  const shortened = (text) => {
    if (/^-?\d+\.\d+$/.test(text) && text.length > 10) {
      const x = Number(text), short = x.toPrecision(7);
      return short.includes("e") ? text : short.includes(".") ? short.replace(/\.?0+$/, "") : grouped(short);
    }
    return grouped(text);
  };
  const bytes = (x) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (Math.abs(x) >= 1024 && i < units.length - 1) { x /= 1024; i++; }
    return x.toFixed(i && Math.abs(x) < 100 ? 1 : 0) + " " + units[i];
  };
  const compact = (x) => {
    const abs = Math.abs(x);
    if (abs === 0) return "0";
    for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
      if (abs >= size) { const n = x / (letter === "k" ? 1e3 : size); return n.toFixed(Math.abs(n) < 10 ? 2 : Math.abs(n) < 100 ? 1 : 0) + " " + letter; }
    }
    if (abs >= 100) return x.toFixed(0);
    if (abs >= 0.01) return x.toFixed(abs < 10 ? 2 : 1).replace(/\.?0+$/, "");
    return x.toPrecision(2);
  };
  const seconds = (x) => {
    const abs = Math.abs(x);
    if (abs === 0) return "0 s";
    if (abs < 1e-6) return compact(x * 1e9) + " ns";
    if (abs < 1e-3) return compact(x * 1e6) + " µs";
    if (abs < 1) return compact(x * 1e3) + " ms";
    if (abs < 120) return compact(x) + " s";
    if (abs < 5400) return compact(x / 60) + " min";
    return compact(x / 3600) + " h";
  };
  // measure writes a number of a row as people read it, for rates and axes.
  const measure = (about, x) => {
    if (about.hint === "duration") return seconds(x / 1e9);
    if (["bytes", "byte", "B"].includes(about.unit)) return bytes(x);
    return compact(x);
  };
  const rateText = (about, rate) => {
    if (rate === null || about.hint === "time") return "";
    if (rate === 0) return "";
    return (rate > 0 ? "+" : "\u2212") + measure(about, Math.abs(rate)) + "/s";
  };

  // ---- charts

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let colours = {};
  const readColours = () => { colours = { accent: colour("--accent"), fill: colour("--fill"), soft: colour("--soft"), line: colour("--line") }; };
  readColours();

  const around = (u, low, high) => {
    if (low === null || high === null) return [0, 1];
    if (low === high) { const d = Math.abs(low) * 0.1 || 1; return [low - d, high + d]; }
    const d = (high - low) * 0.12;
    return [low - d, high + d];
  };
  const lately = () => {
    const now = frame ? frame.t / 1000 : Date.now() / 1000;
    return [now - kept * (frame ? frame.every / 1000 : 1), now];
  };
  const spark = (parent, width, height) => new uPlot({
    width, height, padding: [3, 1, 3, 1],
    cursor: { show: false }, legend: { show: false },
    scales: { x: { time: true, range: lately }, y: { range: around } },
    axes: [{ show: false }, { show: false }],
    series: [{}, { stroke: colours.accent, fill: colours.fill, width: 1.5, points: { show: false } }],
  }, [[], []], parent);
  const large = (parent, width, about) => new uPlot({
    width, height: 190, padding: [8, 8, 0, 0],
    cursor: { drag: { x: false, y: false }, points: { size: 7 } }, legend: { show: false },
    scales: { x: { time: true, range: lately }, y: { range: around } },
    axes: [
      { stroke: colours.soft, grid: { show: false }, ticks: { show: false }, font: "11px system-ui, sans-serif", space: 80, size: 28,
        values: (u, all) => all.map((t) => new Date(t * 1000).toLocaleTimeString([], { hour12: false })) },
      { stroke: colours.soft, grid: { stroke: colours.line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif", size: 64,
        values: (u, all) => all.map((x) => measure(about, x)) },
    ],
    series: [{}, { stroke: colours.accent, fill: colours.fill, width: 2, points: { show: false } }],
  }, [[], []], parent);

  // note adds to the history of a row. The first frame of a stream has no rates: until the
  // next one, the last that is known is shown.
  const note = (about, look, t) => {
    if (!about.chart) return;
    let h = histories.get(about.k);
    if (h && look[2] === null) look[2] = h.rate;
    const y = about.chart === "rate" ? look[2] : look[0];
    if (y === null || look[0] === null) return;
    if (!h) {
      if (histories.size >= mostHistories) histories.delete(histories.keys().next().value);
      h = { t: [], y: [], rate: null };
    } else {
      histories.delete(about.k); // the oldest are dropped first
    }
    histories.set(about.k, h);
    h.rate = look[2];
    if (h.t.length && t <= h.t[h.t.length - 1]) return;
    h.t.push(t);
    h.y.push(y);
    if (h.t.length > kept + 1) { h.t.shift(); h.y.shift(); }
  };

  // remember takes what the server knows of rows that this page has not looked at.
  const remember = (v) => {
    for (const about of [...v.rows, v.open]) {
      const past = about && v.past[about.k];
      if (!past || histories.has(about.k)) continue;
      let t = 0;
      const h = { t: past.t.map((d) => (t += d) / 1000), y: past.y, rate: null };
      if (about.chart === "rate") h.rate = h.y[h.y.length - 1];
      histories.set(about.k, h);
    }
  };

  // ---- rows

  const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
  const makeRow = () => {
    const e = el("button", "row");
    e.type = "button";
    e.setAttribute("role", "listitem");
    const name = el("span", "name"), label = el("span", "label");
    const r = { e, b: el("b"), pill: el("span", "pill"), help: el("span", "help"), chart: el("span", "chart"), value: el("span", "value"), text: el("span"), unit: el("span", "unit"), more: el("span", "more"), rate: el("span", "rate"), plot: null, about: null };
    label.append(r.b, r.pill);
    name.append(label, r.help);
    r.value.append(r.text, " ", r.unit, r.more);
    e.append(name, r.chart, r.value, r.rate);
    e.addEventListener("click", () => { if (r.about) choose(r.about.k); });
    $("list").append(e);
    return r;
  };
  const mark = (pill, row, flags) => {
    const [text, className] = flags & dead ? ["writer dead", "pill bad"] : flags & unreadable ? ["not shown", "pill warn"] : flags & abandoned ? ["abandoned", "pill warn"] : flags & held ? ["locked", "pill"] : ["", "pill"];
    set(pill, text);
    pill.className = className;
    pill.hidden = !text;
    if (row) row.classList.toggle("dead", !!(flags & dead));
  };
  const showRow = (r, about, look, top) => {
    const [number, text, rate, flags] = look;
    r.e.hidden = false;
    r.e.style.top = top + "px";
    if (r.about !== about) {
      r.about = about;
      r.e.dataset.key = about.k;
      set(r.b, about.name);
      r.b.title = about.name;
      set(r.help, about.help || about.type);
      set(r.unit, about.unit || "");
    }
    const numeric = number !== null, histogram = about.type === "Histogram";
    // Of a histogram, the mean is shown large and the percentiles below it.
    const parts = histogram ? text.split(", ") : [text];
    r.e.classList.toggle("wide", !numeric);
    r.e.classList.toggle("chosen", about.k === open);
    r.value.classList.toggle("text", !numeric);
    r.unit.hidden = !about.unit || text.endsWith("iB") || histogram;
    set(r.text, numeric ? shortened(parts[0]) : text);
    set(r.more, parts.slice(1).join(", "));
    r.more.hidden = parts.length < 2;
    r.value.title = text;
    mark(r.pill, r.e, flags);
    set(r.rate, rateText(about, rate));
    if (numeric) {
      const width = r.chart.clientWidth, height = r.chart.clientHeight;
      if (!r.plot) r.plot = spark(r.chart, width || 148, height || 34);
      else if (width && (r.plot.width !== width || r.plot.height !== height)) r.plot.setSize({ width, height });
      const h = histories.get(about.k) || { t: [], y: [] };
      r.plot.setData([h.t, h.y]);
    }
  };
  const showRows = () => {
    const height = rowHeight(), n = view ? view.rows.length : 0;
    $("list").style.height = (view ? view.matched * height : 0) + "px";
    $("list").hidden = !n;
    while (rows.length < n) rows.push(makeRow());
    for (let i = 0; i < rows.length; i++) {
      if (i < n && frame && frame.rows && frame.rows[i]) showRow(rows[i], view.rows[i], frame.rows[i], (view.from + i) * height);
      else rows[i].e.hidden = true;
    }
    const empty = $("empty");
    empty.hidden = !!n;
    if (!n) {
      set(empty, frame && frame.error ? "" : view && filter ? "No value has this in its name." : view ? "The segment has no values." : frame && !frame.segs.length ? "There is no segment. It appears here when a program makes one." : "");
    }
    set($("count"), view ? (filter ? grouped(String(view.matched)) + " of " : "") + grouped(String(view.total)) + (view.total === 1 ? " row" : " rows") : "");
  };

  // ---- state

  const showState = () => {
    const s = frame && frame.state;
    document.title = (s && s.dead ? "● " : "") + (shown(segment) || "shm") + " · shm";
    set($("fact-values"), s ? grouped(String(s.values)) : "–");
    set($("fact-size"), s ? s.size : "–");
    set($("fact-processes"), s ? String(s.attached) : "–");
    set($("fact-held"), s ? String(s.held) : "–");
    const alerts = [];
    if (frame && frame.error) alerts.push(frame.error);
    if (s && s.damage) alerts.push("Damaged: " + s.damage);
    if (s && s.dead) alerts.push(s.dead === 1 ? "One lock is held by a process that is dead. The next program that asks gets it." : s.dead + " locks are held by dead processes. The next programs that ask get them.");
    set($("alert"), alerts.join(" "));
    $("alert").hidden = !alerts.length;
    set($("tab-locks"), s && s.held ? String(s.held) : "");
    set($("tab-processes"), s && s.attached ? String(s.attached) : "");
    list($("locks"), s ? s.locks : [], "No lock is held.", (l) => {
      const free = l.state === "free";
      const sub = free ? "free" : (l.program + (l.pid ? " · pid " + l.pid : "") + " · for " + seconds(l.held));
      const more = [l.waiting && !free ? "others wait or waited" : "", l.abandoned ? "abandoned" : "", l.takeovers ? l.takeovers + (l.takeovers === 1 ? " takeover" : " takeovers") : ""].filter(Boolean).join(", ");
      return { name: l.name, state: l.state, sub: sub + (more ? " · " + more : "") };
    });
    list($("processes"), s ? s.processes : [], "Nobody is attached.", (p) => ({
      name: p.program || "unknown", state: p.state, ended: p.state === "dead",
      sub: (p.pid ? "pid " + p.pid : "pid not known") + (p.read_only ? " · only reads" : "") + (p.holds ? " · holds " + p.holds.join(", ") : ""),
    }));
  };
  const list = (parent, all, none, describe) => {
    if (!all.length) {
      if (parent.childElementCount !== 1 || !parent.firstChild.classList.contains("none")) parent.replaceChildren(el("p", "none", none));
      set(parent.firstChild, none);
      return;
    }
    if (parent.firstChild && parent.firstChild.classList.contains("none")) parent.replaceChildren();
    while (parent.childElementCount > all.length) parent.lastChild.remove();
    all.forEach((x, i) => {
      let e = parent.children[i];
      if (!e) {
        e = el("div", "item");
        const line = el("div", "line");
        line.append(el("b"), el("span", "pill"));
        e.append(line, el("div", "sub"));
        parent.append(e);
      }
      const d = describe(x);
      e.classList.toggle("ended", !!d.ended);
      set(e.querySelector("b"), d.name);
      const pill = e.querySelector(".pill");
      set(pill, d.state);
      pill.className = "pill" + (d.state === "dead" ? " bad" : d.state === "stopped" ? " warn" : "");
      set(e.querySelector(".sub"), d.sub);
    });
  };
  const shown = (name) => { const s = frame && frame.segs.find((s) => s.name === name); return s ? s.shown : name; };
  let listed = "";
  const showSegments = () => {
    const names = frame ? frame.segs : [];
    if (!segment && names.length) { segment = names[0].name; connect(); }
    const key = JSON.stringify([names, segment]);
    if (key === listed) return;
    listed = key;
    const all = names.some((s) => s.name === segment) || !segment ? names : [...names, { name: segment, shown: segment }];
    $("segment").replaceChildren(...all.map((s) => { const o = el("option", "", s.shown); o.value = s.name; o.selected = s.name === segment; return o; }));
    $("segment").disabled = all.length < 2;
  };

  // ---- the row that is looked at closely

  let plot = null, plotOf = null;
  const choose = (key) => { open = key; connect(); if (!key) showDetail(); };
  const showDetail = () => {
    const about = view && view.open, o = frame && frame.open;
    $("detail").hidden = !open || !about || !o;
    if ($("detail").hidden) { if (plot) plot.destroy(); plot = plotOf = null; return; }
    const [number, text, rate, flags] = o.look;
    set($("d-name"), about.name);
    set($("d-help"), about.help || "");
    const histogram = about.type === "Histogram", numeric = number !== null;
    $("d-value").parentElement.hidden = !numeric;
    set($("d-value"), histogram ? grouped(String(number)) : numeric ? grouped(text) : "");
    set($("d-unit"), histogram ? "observations" : text.endsWith("iB") ? "" : about.unit || "");
    set($("d-rate"), histogram ? text : rateText(about, rate));
    set($("d-title"), !numeric ? "" : (about.chart === "rate" ? "Change a second, in the last " : "In the last ") + seconds(kept * frame.every / 1000));
    set($("d-text"), numeric && !histogram ? "" : o.text);
    $("d-text").hidden = !$("d-text").textContent;
    const shape = about.k + (numeric ? " number" : " text"); // NaN is shown as a text
    if (plotOf !== shape) {
      if (plot) plot.destroy();
      plot = numeric ? large($("d-chart"), $("d-chart").clientWidth, about) : null;
      plotOf = shape;
    }
    if (plot) { const h = histories.get(about.k) || { t: [], y: [] }; plot.setData([h.t, h.y]); }
    const bars = o.bars || [], most = Math.max(0, ...bars.map((b) => Math.abs(b.long))) || 1;
    if ($("d-bars").childElementCount !== bars.length) {
      $("d-bars").replaceChildren(...bars.map(() => { const e = el("div", "bar-row"); e.append(el("span"), el("meter"), el("span")); return e; }));
    }
    bars.forEach((b, i) => {
      const [label, meter, text] = $("d-bars").children[i].children;
      set(label, b.label);
      meter.max = most;
      meter.value = Math.abs(b.long);
      set(text, grouped(b.text));
    });
    const h = histories.get(about.k), facts = [["Type", about.type]];
    if (h && h.y.length > 1) facts.push(["Lowest", measure(about, Math.min(...h.y)) + (about.chart === "rate" ? "/s" : "")], ["Highest", measure(about, Math.max(...h.y)) + (about.chart === "rate" ? "/s" : "")]);
    if (about.hint) facts.push(["Meaning", about.hint]);
    if (o.lock) facts.push(["Lock", o.lock]);
    else if (flags & dead) facts.push(["Lock", "held by a process that is dead"]);
    if (about.by) facts.push(["Made by", about.by]);
    facts.push(["Memory", bytes(about.bytes) + ", at " + about.offset]);
    const dl = $("d-about");
    while (dl.childElementCount > 2 * facts.length) dl.lastChild.remove();
    facts.forEach(([name, text], i) => {
      if (!dl.children[2 * i]) dl.append(el("dt"), el("dd"));
      set(dl.children[2 * i], name);
      set(dl.children[2 * i + 1], text);
    });
  };

  // ---- the stream

  // wanted returns the rows that are to be seen, and some more on both sides.
  const wanted = () => {
    const height = rowHeight(), more = 6;
    const top = $("list").getBoundingClientRect().top;
    const first = $("list").hidden ? 0 : Math.max(0, Math.floor(-top / height) - more);
    const n = Math.min(200, Math.ceil(innerHeight / height) + 2 * more);
    // The stream is asked again only if a whole step is passed.
    return { from: Math.floor(first / more) * more, n: n + more };
  };
  const connect = () => {
    const w = wanted(), q = new URLSearchParams({ seg: segment, q: filter, from: w.from, n: w.n });
    if (open) q.set("open", open);
    if (source && source.readyState !== EventSource.CLOSED && q.toString() === asked) return;
    asked = q.toString();
    clearTimeout(again);
    if (source) source.close();
    if (document.hidden) { source = null; return; }
    const mine = source = new EventSource("events?" + asked);
    let next = null;
    mine.addEventListener("view", (e) => {
      next = JSON.parse(e.data);
    });
    mine.addEventListener("frame", (e) => {
      if (mine !== source) return;
      frame = JSON.parse(e.data);
      if (next) {
        if (file !== next.file) histories.clear();
        file = next.file;
        view = next;
        remember(view);
        next = null;
      }
      if (!frame.rows) view = null;
      document.body.classList.remove("lost");
      $("link").classList.add("live");
      set($("link"), "live");
      const t = frame.t / 1000;
      if (view) view.rows.forEach((about, i) => note(about, frame.rows[i], t));
      if (view && view.open && frame.open) note(view.open, frame.open.look, t);
      showSegments();
      showState();
      showRows();
      showDetail();
      document.body.dataset.frame = String(frame.t);
    });
    mine.onerror = () => {
      document.body.classList.add("lost"); // what is shown is of the last frame
      $("link").classList.remove("live");
      set($("link"), "connection lost, trying again");
      if (mine === source && mine.readyState === EventSource.CLOSED) again = setTimeout(() => { source = null; connect(); }, 2000);
    };
  };
  let later = 0;
  const soon = () => { clearTimeout(later); later = setTimeout(connect, 80); };
  const remembered = () => {
    const q = new URLSearchParams();
    if (segment) q.set("seg", segment);
    if (filter) q.set("q", filter);
    history.replaceState(null, "", q.size ? "?" + q : location.pathname);
  };

  $("filter").value = filter;
  $("filter").addEventListener("input", () => { filter = $("filter").value; remembered(); soon(); });
  $("segment").addEventListener("change", () => { segment = $("segment").value; open = ""; view = null; histories.clear(); remembered(); scrollTo(0, 0); connect(); showDetail(); });
  $("d-close").addEventListener("click", () => choose(""));
  $("tabs").addEventListener("click", (e) => {
    const tab = e.target.closest("button");
    if (!tab) return;
    $("main").dataset.tab = tab.dataset.tab;
    for (const b of $("tabs").children) b.setAttribute("aria-pressed", String(b === tab));
  });
  addEventListener("keydown", (e) => {
    if (e.key === "Escape" && open) choose("");
    if (e.key === "/" && document.activeElement !== $("filter")) { e.preventDefault(); $("filter").focus(); }
  });
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", () => { plotOf = null; showRows(); soon(); });
  document.addEventListener("visibilitychange", connect);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    for (const r of rows) if (r.plot) { r.plot.destroy(); r.plot = null; }
    plotOf = null;
    showRows();
    showDetail();
  });
  connect();
})();
