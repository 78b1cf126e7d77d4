// The live view of %%llmtime, as an anywidget front-end module; not what is timed, judged or kept.
// Names, token texts and notes come from outside: they reach the page as text or attributes, never as markup.

const MOST_ITEMS = 2000; // about one for each device pixel of a wide notebook
const MOST_TEXT = 600; // more than the two lines that are shown

const THREE_DIGITS = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const AS_FEW_DIGITS = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });

export function duration(us, digits = THREE_DIGITS) {
  if (!us) return "0 s";
  const [unit, scale] = us >= 999_500 ? ["s", 1e6] : us >= 999.5 ? ["ms", 1e3] : ["µs", 1];
  return `${digits.format(us / scale)} ${unit}`;
}

export const roundMark = (us) => duration(us, AS_FEW_DIGITS);

export const widthWords = (width, aim) =>
  [width, aim].filter((share) => share != null).map((share) => `±${(100 * share).toFixed(1)} %`).join(" → ");

// What cannot be seen would hide or reorder its neighbours (Unicode Technical Report 36, 3.1).
export const visible = (text) =>
  String(text ?? "")
    .replace(/\r?\n/g, "↵")
    .replace(/\t/g, "⇥")
    .replace(/(?!\u200d)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");

export const newCall = () => ({
  items: [], // {index, last, at, gap, text}: emissions index to last, `at` the end of their longest gap
  next: 0, // the first index not known yet
  end: 0, // instant of the last known emission
  stride: 1, // most emissions of one item, doubled by each thinning
  first: null, // instant of emission 0
  longest: null, // item with the longest gap after emission 0
  text: "",
  cut: 0, // characters dropped before `text`
  heard: 0, // the first index whose text is not known yet
  notes: [],
  t: 0, // microseconds into the call at the browser's instant `since`
  since: null,
  facts: {},
});

const join = (a, b) => ({
  index: a.index,
  last: b.last,
  at: b.gap > a.gap ? b.at : a.at,
  gap: Math.max(a.gap, b.gap),
  text: null,
});

// Emission 0 stays alone: its gap is the time to the first token and would hide every stall.
export function thin(items) {
  const kept = items.slice(0, items[0]?.index === 0 ? 1 : 0);
  for (let i = kept.length; i < items.length; i += 2) {
    kept.push(i + 1 < items.length ? join(items[i], items[i + 1]) : items[i]);
  }
  return kept;
}

function append(call, item, most) {
  const tail = call.items.at(-1);
  if (tail?.index > 0 && item.last - tail.index < call.stride) call.items.push(join(call.items.pop(), item));
  else call.items.push(item);
  if (item.index === 0) call.first = item.at;
  else if (!(call.longest?.gap >= item.gap)) call.longest = item;
  while (call.items.length > most) {
    call.items = thin(call.items);
    call.stride *= 2;
  }
}

// Messages repeat the last emissions: what is known is skipped, what was lost comes with the next one.
export function merge(call, { first, at_us: at, e, text }, most = MOST_ITEMS) {
  if (!e?.length) return call;
  let index = first;
  e.forEach((entry, position) => {
    const [dt, count, longest] = Array.isArray(entry) ? entry : [entry, 1, entry];
    if (position) at += dt;
    const last = index + count - 1;
    const words = text?.[position - e.length + text.length];
    if (last >= call.next) {
      const from = Math.max(index, call.next);
      // The longest gap of a group may lie in its known part; the unknown part fits between here and there.
      const gap = from > index ? Math.min(longest, at - call.end) : longest;
      append(call, { index: from, last, at, gap, text: words }, most);
      call.next = last + 1;
      call.end = at;
    }
    if (words !== undefined && last >= call.heard) {
      call.text += (index > call.heard ? "⋯" : "") + visible(words);
      call.heard = last + 1;
    }
    index = last + 1;
  });
  call.cut += Math.max(0, call.text.length - MOST_TEXT);
  call.text = call.text.slice(-MOST_TEXT);
  return call;
}

// Lines begin at fixed characters, so that a new token fills the last line and does not shift everything.
export function lastLines(text, cut, width, rows = 2) {
  const start = Math.max(0, (Math.ceil((cut + text.length) / width) - rows) * width);
  const shown = text.slice(Math.max(0, start - cut));
  return { shown: shown.replace(/^[\udc00-\udfff]/, ""), whole: start === 0 };
}

// The position of the item whose instant is nearest; -1 where there is none.
export function nearest(items, at) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle].at < at) low = middle + 1;
    else high = middle;
  }
  if (low === items.length) return low - 1;
  return low > 0 && at - items[low - 1].at <= items[low].at - at ? low - 1 : low;
}

function roundUp(value, factors) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * factors.find((factor) => factor * power >= value * 0.999999);
}

// The smallest round number from `value` on, so that scales change seldom.
export const niceAbove = (value) => (value > 0 ? roundUp(value, [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) : 1);

// 0 and at most `most` marks at multiples of 1, 2 or 5 times a power of ten.
export function axisSteps(total, most = 6) {
  const step = roundUp(Math.max(1, total / most), [1, 2, 5, 10]);
  return Array.from({ length: Math.floor(total / step + 1e-9) + 1 }, (_, i) => i * step);
}

// Above it a gap is drawn as a stall: an ordinary one fills about a fifth of the height, whatever the longest is.
export function gapTop(items) {
  const gaps = items.filter((item) => item.index > 0).map((item) => item.gap).sort((a, b) => a - b);
  return niceAbove(4 * (gaps[(gaps.length - 1) >> 1] ?? 0));
}

export const notesNear = (notes, item, reach) =>
  notes.filter(([, at]) => at >= item.at - Math.max(item.gap, reach) && at <= item.at + reach);

const tokens = ({ index, last }) => (index === last ? `token ${last + 1}` : `tokens ${index + 1}–${last + 1}`);

export function readout(item, notes = []) {
  const { index, last, at, gap, text } = item;
  const one = index === last;
  const parts = [tokens(item)];
  if (last === 0) parts.push(`first, after ${duration(at)}`);
  else parts.push(`${one ? "gap" : "longest gap"} ${duration(gap)}`, `at ${duration(at)}`);
  if (one && text) parts.push(`“${text.slice(0, 40)}”`);
  for (const [kind, , detail] of notes.slice(0, 3)) parts.push(detail ? `${kind}: ${detail}` : kind);
  return parts.join(" · ");
}

export function budgetWords({ text, mark, seen }) {
  if (mark === "ok") return `✓ ${text}${seen ? ` · ${seen}` : ""}`;
  const [glyph, word] = mark === "over" ? ["✗", "over"] : ["…", "open"];
  return `${glyph} ${text} · ${seen ? `${seen}, ` : ""}${word}`;
}

export const newRun = (setup) => ({
  id: setup.run,
  name: setup.name,
  phase: "waiting",
  about: {}, // the last message of kind "call"
  widths: [],
  budgets: (setup.budgets ?? []).map((text) => ({ text })),
  call: newCall(),
  ended: false,
  ticks: 0,
});

// Take a message in; false where it is another run's, unknown or late.
export function receive(run, message, now) {
  if (message?.run !== run.id || run.ended) return false;
  if (message.kind === "call") {
    run.phase = message.quiet ? "measuring" : "starting";
    run.about = message;
    run.call = Object.assign(newCall(), { since: now });
    if (message.width != null) run.widths = [...run.widths, message.width].slice(-100);
  } else if (message.kind === "tick") {
    run.phase = message.phase;
    run.ticks += 1;
    run.sent = message.sent_ms;
    merge(Object.assign(run.call, { facts: message, t: message.t_us, since: now }), message);
    run.call.notes = [...run.call.notes, ...(message.notes ?? [])].sort((a, b) => a[1] - b[1]).slice(-200);
  } else if (message.kind === "end") {
    run.call.t = elapsed(run, now);
    Object.assign(run, { phase: "ended", ended: true });
  } else return false;
  run.budgets = message.budgets ?? run.budgets;
  return true;
}

// Between ticks the browser's own clock goes on.
export function elapsed({ call, ended }, now) {
  return call.since === null ? 0 : call.t + (ended ? 0 : Math.max(0, now - call.since) * 1000);
}

// One way only: a second interrupt would hit the next cell.
export async function stop(run, model) {
  if (run.ended || run.stopping) return;
  Object.assign(run, { stopping: true, label: "Stopping…", refused: "" });
  run.patience = setTimeout(() => {
    Object.assign(run, { stopping: false, label: "Stop again" });
    run.changed();
  }, 3000);
  run.changed();
  try {
    const kernel = model.widget_manager?.kernel;
    await (typeof kernel?.interrupt === "function" ? kernel.interrupt() : model.send({ stop: run.id }));
  } catch {
    Object.assign(run, { label: "Stop", refused: "use ■ in the toolbar" });
    run.changed();
  }
}

// Middle tones, for both themes; the same as in the result's picture (llm_latency.report.svg).
const COLOURS = { load: "#a2609b", tokenize: "#3f8560", prefill: "#c0651a", decode: "#2b7cb5", detokenize: "#8a7a1f" };
const GREY = "#7a7a7a";
const GLYPHS = { waiting: "○", starting: "○", measuring: "◌", ended: "■" };
const TOP = 18;
const LANE = 44;
const FLOOR = TOP + LANE + 5; // a stall stands out by 5 pixels

// VS Code's variables come first: ipywidgets' own style sheet defines JupyterLab's too, always as light ones.
const STYLE = `
.llmt-root{--line:var(--vscode-panel-border,var(--jp-border-color1,#8888));
 --brand:var(--vscode-focusBorder,var(--jp-brand-color1,#2b7cb5));
 color:var(--vscode-editor-foreground,var(--jp-ui-font-color1,currentColor));
 background:var(--vscode-editor-background,var(--jp-layout-color1,transparent));
 font:13px/1.5 var(--vscode-font-family,var(--jp-ui-font-family,system-ui,sans-serif));
 font-variant-numeric:tabular-nums;border:1px solid var(--line);border-radius:4px;padding:8px 10px;
 max-width:900px;box-sizing:border-box;overflow:hidden;position:relative}
.llmt-root [hidden]{display:none}
.llmt-top,.llmt-head,.llmt-facts,.llmt-budgets{display:flex;flex-wrap:wrap;column-gap:16px;min-height:1.5em}
.llmt-top{flex-wrap:nowrap;align-items:flex-start}
.llmt-head{flex:1}
.llmt-root span,.llmt-read{overflow-wrap:anywhere;unicode-bidi:isolate}
.llmt-glyph{width:1em;margin-right:-10px}
.llmt-phase{min-width:5.5em}
.llmt-elapsed{min-width:3.6em}
.llmt-phase,.llmt-facts,.llmt-over,.llmt-refused{font-weight:600}
.llmt-last{font-weight:400}
.llmt-stop{font:inherit;color:inherit;background:none;border:1px solid;border-radius:3px;min-width:7.5em;cursor:pointer}
.llmt-stop:disabled{opacity:.6;cursor:default}
.llmt-root :focus-visible{outline:2px solid var(--brand);outline-offset:1px}
.llmt-done{height:3px;margin:4px 0;background:#8884;border-radius:2px}
.llmt-share{height:100%;background:var(--brand);border-radius:2px}
.llmt-line{cursor:crosshair}
.llmt-root svg{display:block;overflow:visible}
.llmt-root path{fill:none;stroke:${GREY}}
.llmt-root text{font-size:11px;fill:currentColor}
.llmt-spark{width:72px;height:18px}
.llmt-guide,.llmt-aim{stroke-dasharray:1 3}
.llmt-root .llmt-gaps,.llmt-root .llmt-widths{stroke:${COLOURS.decode}}
.llmt-root .llmt-stalls{stroke:#d0433a;stroke-width:2}
.llmt-root .llmt-flags{fill:${COLOURS.load};stroke:none}
.llmt-root .llmt-chosen{stroke:currentColor;fill:currentColor}
.llmt-scale{text-anchor:end}
.llmt-read{min-height:1.5em;margin-top:3px;white-space:pre-wrap}
.llmt-text,.llmt-budgets{border-top:1px solid var(--line);margin-top:4px;padding-top:4px}
.llmt-text{font:12px/1.5 var(--vscode-editor-font-family,var(--jp-code-font-family,ui-monospace,monospace));
 height:3em;overflow:hidden;position:relative;padding-left:2ch;display:flex;flex-direction:column}
.llmt-cut{justify-content:flex-end}
.llmt-cut::before{content:"…";position:absolute;left:0;top:4px}
.llmt-tail{white-space:break-spaces;word-break:break-all}
.llmt-said,.llmt-ruler{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media (prefers-reduced-motion:no-preference){.llmt-share{transition:width .2s}}`;

// Parent, tag and names of the view's parts, in their order.
const PARTS = `
root div top done facts line read text budgets said ruler
top div head
top button stop
head span glyph phase name words elapsed eta width
head svg spark
spark path aim widths
head span refused
done div share
facts span ttft rate tokens memory others last
line svg chart
chart rect bar
chart path guide chosen gaps stalls axis now flags
chart g steps names
chart text scale
text div tail`;

function make(parent, tag, name = "") {
  const space = tag === "svg" ? "http://www.w3.org/2000/svg" : parent.namespaceURI;
  const node = document.createElementNS(space, tag);
  if (name) node.setAttribute("class", `llmt-${name}`);
  return parent.appendChild(node);
}

function build(el) {
  make(el, "style").textContent = STYLE;
  const page = { root: make(el, "div", "root") };
  for (const row of PARTS.trim().split("\n")) {
    const [parent, tag, ...names] = row.split(" ");
    for (const name of names) page[name] = make(page[parent], tag, name);
  }
  set(page.root, { role: "group", "aria-label": "llm-latency, live" });
  set(page.line, { role: "slider", tabindex: 0, "aria-label": "tokens of the running call", "aria-valuemin": 0 });
  set(page.said, { role: "status", "aria-live": "polite" });
  set(page.chart, { height: FLOOR + 20 });
  set(page.bar, { y: FLOOR - 14, height: 14, rx: 2 });
  for (const name of ["glyph", "spark", "done", "chart", "ruler"]) set(page[name], { "aria-hidden": true });
  page.stop.type = "button";
  page.text.hidden = true;
  return page;
}

// What has not changed is left alone, for the sake of focus, of selected text and of screen readers.
function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (node.getAttribute(key) !== String(value)) node.setAttribute(key, value);
  }
}

function write(node, words) {
  const seen = visible(words);
  if (node.textContent !== seen) node.textContent = seen;
}

function pool(parent, tag, count) {
  while (parent.childNodes.length < count) make(parent, tag);
  while (parent.childNodes.length > count) parent.lastChild.remove();
  return parent.childNodes;
}

function drawWords(page, run, now, letters) {
  const { about, call, ended } = run;
  const { ttft, rate, n, memory, others, eta = about.eta } = call.facts;
  page.glyph.style.color = COLOURS[run.phase] ?? "";
  const stage = { cold: "first call", warmup: "warm-up" }[about.stage] ?? "";
  const told = /cold|first|warm/i.test(about.words);
  const words = {
    glyph: GLYPHS[run.phase] ?? "●",
    phase: run.phase,
    name: run.name,
    words: stage && !told ? `${stage} · ${about.words}` : about.words,
    elapsed: call.since === null ? "" : `${(elapsed(run, now) / 1e6).toFixed(1)} s`,
    eta: eta && !ended ? `${eta} left` : "",
    width: widthWords(about.width, about.aim),
    refused: ended ? "" : run.refused,
    stop: ended ? "Stop" : run.label ?? "Stop",
    ttft: ttft && `ttft ${ttft}`,
    rate,
    tokens: n ? `${n.toLocaleString("en-US")} token${n === 1 ? "" : "s"}` : "",
    memory,
    others: others && `others ${others}`,
    last: about.last && `call before: ${about.last}`,
  };
  for (const [name, text] of Object.entries(words)) {
    write(page[name], text);
    page[name].hidden = !text;
  }
  page.stop.disabled = ended || Boolean(run.stopping);
  page.done.style.visibility = about.of ? "" : "hidden";
  page.share.style.width = `${Math.min(100, (100 * about.done) / about.of || 0)}%`;
  const { shown, whole } = lastLines(call.text, call.cut, letters);
  write(page.tail, shown);
  set(page.text, { class: whole ? "llmt-text" : "llmt-text llmt-cut" });
  if (shown) page.text.hidden = false; // and it stays, so that nothing jumps when the next call begins
  page.budgets.hidden = !run.budgets.length;
  pool(page.budgets, "span", run.budgets.length).forEach((node, i) => {
    write(node, budgetWords(run.budgets[i]));
    set(node, { class: run.budgets[i].mark === "over" ? "llmt-over" : "" });
  });
}

// Above and below the middle, so that the interval is seen to close in on its aim.
function drawWidths(page, widths, aim) {
  page.spark.style.display = widths.length > 1 ? "" : "none";
  const most = Math.max(...widths, aim ?? 0) || 1;
  const y = (width) => 9 + (8 * width) / most;
  const side = (sign) => widths.map((width, i) => `${(72 * i) / (widths.length - 1)} ${y(sign * width)}`).join("L");
  if (widths.length > 1) set(page.widths, { d: `M${side(-1)}M${side(1)}` });
  set(page.aim, { d: aim == null ? "" : `M0 ${y(-aim)}H72M0 ${y(aim)}H72` });
}

function drawChart(page, run, now, view) {
  const { call, about, ended } = run;
  const { width } = view;
  const t = Math.max(elapsed(run, now), call.end);
  const span = niceAbove(Math.max(t, 5e5));
  const x = (us) => Math.round((us / span) * (width - 1) * 10) / 10 + 0.5;
  Object.assign(view, { x, instant: (pixel) => ((pixel - 0.5) / (width - 1)) * span, reach: (8 / width) * span });
  const colour = COLOURS[call.items.length ? "prefill" : run.phase];
  set(page.chart, { width });
  set(page.bar, { width: x(call.first ?? call.items[0]?.at ?? t), fill: colour ?? GREY });
  set(page.bar, { "fill-opacity": about.quiet || !colour ? 0.4 : 0.85 });
  set(page.now, { d: ended || call.since === null ? "" : `M${x(t)} ${TOP}V${FLOOR}` });

  const top = gapTop(call.items);
  const tallest = new Map(); // the longest gap of each pixel
  for (const { index, at, gap } of call.items) {
    const pixel = Math.round(x(at)) + 0.5;
    if (index > 0) tallest.set(pixel, Math.max(tallest.get(pixel) ?? 0, gap));
  }
  let stalls = "";
  let gaps = call.first === null ? "" : `M${x(call.first)} ${FLOOR}v-14`;
  for (const [pixel, gap] of tallest) {
    if (gap > top) stalls += `M${pixel} ${FLOOR}V${TOP}`;
    else gaps += `M${pixel} ${FLOOR}v${-Math.max(2, Math.round((gap / top) * LANE))}`;
  }
  set(page.gaps, { d: gaps });
  set(page.stalls, { d: stalls });
  set(page.guide, { d: tallest.size ? `M0 ${FLOOR - LANE}H${width}` : "" });
  set(page.scale, { x: width, y: TOP - 6 });
  write(page.scale, tallest.size ? `gap ${roundMark(top)}` : "");

  const steps = axisSteps(span, Math.max(2, Math.min(8, Math.floor(width / 80))));
  set(page.axis, { d: `M0 ${FLOOR}H${width}${steps.map((us) => `M${x(us)} ${FLOOR}v5`).join("")}` });
  pool(page.steps, "text", steps.length).forEach((node, i) => {
    set(node, { x: x(steps[i]), y: FLOOR + 18 });
    set(node, { "text-anchor": i === 0 ? "start" : x(steps[i]) > width - 24 ? "end" : "middle" });
    write(node, roundMark(steps[i]));
  });

  let free = 0;
  const named = call.notes.filter(([kind, at]) => {
    const end = x(at) + 16 + 7 * kind.length;
    const fits = x(at) >= free && end < width - 80;
    if (fits) free = end;
    return fits;
  });
  set(page.flags, { d: call.notes.map(([, at]) => `M${x(at) - 4} ${TOP - 10}h8l-4 7z`).join("") });
  pool(page.names, "text", named.length).forEach((node, i) => {
    set(node, { x: x(named[i][1]) + 7, y: TOP - 4 });
    write(node, named[i][0]);
  });
}

function drawChoice(page, { call, about }, { hover, chosen, x, reach }) {
  const { items, notes, longest, next } = call;
  const words = (item) => visible(item ? readout(item, notesNear(notes, item, reach)) : "");
  const kept = chosen === null ? undefined : items.find(({ last }) => last >= chosen);
  const shown = hover === null ? kept : items[nearest(items, hover)];
  const rest = longest ? `longest gap ${duration(longest.gap)} · ${tokens(longest)}` : "";
  write(page.read, words(shown) || (about.quiet ? "measured quietly: nothing is shown until this call ends" : rest));
  set(page.chosen, { d: shown ? `M${x(shown.at)} ${TOP}V${FLOOR}l-4 7h8l-4 -7` : "" });
  set(page.line, { "aria-valuemax": next, "aria-valuenow": kept ? kept.last + 1 : 0 });
  set(page.line, { "aria-valuetext": words(kept) || "no token selected" });
}

const STEPS = {
  ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity,
};

// The emission that a key leads to, from the chosen one or, where there is none, from beyond the ends.
export function move(items, chosen, key) {
  if (key === "Escape" || !items.length) return null;
  const step = STEPS[key];
  const from = chosen === null ? (step < 0 ? items.length : -1) : items.findIndex(({ last }) => last >= chosen);
  return items[Math.max(0, Math.min(items.length - 1, from + step))].last;
}

// By run and not by model: anywidget hands a new facade of the model to `initialize` and to each `render`.
const runs = new Map();

function runOf(model) {
  const setup = model.get("setup") ?? {};
  if (runs.has(setup.run)) return runs.get(setup.run);
  const run = Object.assign(newRun(setup), { views: new Set() });
  run.changed = () => run.views.forEach((schedule) => schedule());
  run.listen = (message) => {
    if (!receive(run, message, performance.now())) return;
    if (run.ended) clearTimeout(run.patience);
    run.changed();
  };
  model.on("msg:custom", run.listen);
  runs.set(setup.run, run);
  return run;
}

function initialize({ model }) {
  const run = runOf(model);
  return () => {
    model.off("msg:custom", run.listen);
    clearTimeout(run.patience);
    runs.delete(run.id);
  };
}

function render({ model, el }) {
  const run = runOf(model);
  const page = build(el);
  const view = { width: 640, letters: 80, chosen: null, hover: null, call: run.call };
  let frame = 0;
  let ticks = 0;
  let spoken = -Infinity;

  function draw() {
    frame = 0;
    const now = performance.now();
    if (view.call !== run.call) Object.assign(view, { call: run.call, chosen: null, hover: null });
    drawWords(page, run, now, view.letters);
    drawWidths(page, run.widths, run.about.aim);
    drawChart(page, run, now, view);
    drawChoice(page, run, view);
    // Short calls change the phase many times a second, which nobody could listen to.
    if (run.ended || now - spoken > 1000) {
      const open = run.ended ? [] : [run.about.words, run.refused];
      const news = [run.name, run.phase, ...open].filter(Boolean).join(", ");
      if (page.said.textContent !== news) spoken = now;
      write(page.said, news);
    }
    if (run.ended) clearInterval(timer);
    if (ticks !== run.ticks) {
      ticks = run.ticks;
      Object.assign(el.dataset, { lag: Date.now() - run.sent, ticks });
    }
  }
  const schedule = () => {
    frame ||= requestAnimationFrame(draw);
  };
  function measure() {
    page.ruler.style.font = getComputedStyle(page.tail).font;
    page.ruler.style.width = "100ch";
    view.width = page.line.clientWidth || view.width;
    view.letters = Math.max(10, Math.floor((view.width * 100) / (page.ruler.offsetWidth || 800)) - 2);
    schedule();
  }
  // JupyterLab takes arrows and Enter at the document, before they would reach a cell's output.
  function onKey(event) {
    const { key } = event;
    const [target] = event.composedPath();
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (target === page.stop && (key === "Enter" || key === " ")) event.stopPropagation();
    if (target !== page.line || !(key in STEPS || (key === "Escape" && view.chosen !== null))) return;
    event.preventDefault();
    event.stopPropagation();
    Object.assign(view, { chosen: move(run.call.items, view.chosen, key), hover: null });
    schedule();
  }
  function onPointer({ type, clientX }) {
    if (!view.instant) return;
    const at = view.instant(clientX - page.chart.getBoundingClientRect().left);
    view.hover = type === "pointerleave" ? null : at;
    if (type === "pointerdown") view.chosen = run.call.items[nearest(run.call.items, at)]?.last ?? null;
    schedule();
  }

  page.stop.addEventListener("click", () => stop(run, model));
  for (const type of ["pointermove", "pointerdown", "pointerleave"]) page.line.addEventListener(type, onPointer);
  window.addEventListener("keydown", onKey, true);
  const sizes = new ResizeObserver(measure);
  sizes.observe(page.root);
  const timer = setInterval(schedule, 200);
  run.views.add(schedule);
  measure();

  return () => {
    run.views.delete(schedule);
    sizes.disconnect();
    clearInterval(timer);
    cancelAnimationFrame(frame);
    window.removeEventListener("keydown", onKey, true);
    el.replaceChildren();
  };
}

export default { initialize, render };
