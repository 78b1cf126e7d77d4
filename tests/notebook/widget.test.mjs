// The live view's own arithmetic and words, and its Stop; how it looks is seen in a browser.
// Expected numbers are derived beside them or follow from the construction, never pasted from output.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// As anywidget loads it, from its text: by its name, .js, Node before 20.19 would take it for CommonJS.
const source = await readFile(new URL("../../llm_latency/notebook/static/widget.js", import.meta.url), "utf8");
const {
  default: widget,
  axisSteps,
  budgetWords,
  duration,
  elapsed,
  gapTop,
  lastLines,
  merge,
  move,
  nearest,
  newCall,
  newRun,
  niceAbove,
  notesNear,
  readout,
  receive,
  roundMark,
  stop,
  thin,
  visible,
  widthWords,
} = await import(`data:text/javascript,${encodeURIComponent(source)}`);

// Emissions from `first` on, each `gap` microseconds after the one before; emission 0 at `ttft`.
function listed(first, count, { gap = 20_000, ttft = 170_000, text } = {}) {
  const e = Array.from({ length: count }, (_, i) => (first + i === 0 ? ttft : gap));
  return { first, at_us: ttft + first * gap, e, text };
}

const indices = (call) => call.items.map(({ index }) => index);
const setup = { run: "a1b2c3", name: "In [5]", budgets: ["ttft p95 < 250 ms"] };
const began = (message = {}) => ({ run: "a1b2c3", kind: "call", stage: "counted", words: "call 1 of 2", ...message });
const ticked = (message = {}) => ({ run: "a1b2c3", kind: "tick", phase: "decode", t_us: 1_000_000, n: 0, ...message });

for (const [us, expected] of [
  [0, "0 s"],
  [1, "1.00 µs"],
  [999, "999 µs"],
  [999.6, "1.00 ms"],
  [9_000, "9.00 ms"],
  [9_996, "10.0 ms"],
  [38_200, "38.2 ms"],
  [412_000, "412 ms"],
  [999_499, "999 ms"],
  [999_500, "1.00 s"],
  [1_240_000, "1.24 s"],
  [83_400_000, "83.4 s"],
  [1_230_000_000, "1,230 s"],
]) {
  test(`${us} µs are ${expected}`, () => assert.equal(duration(us), expected));
}

test("a round mark has no needless zeros", () => {
  assert.deepEqual([0, 500, 200_000, 1_000_000, 1_500_000, 10_000_000].map(roundMark), [
    "0 s", "500 µs", "200 ms", "1 s", "1.5 s", "10 s",
  ]);
});

test("an interval is told with its aim, or alone, or not at all", () => {
  assert.equal(widthWords(0.042, 0.03), "±4.2 % → ±3.0 %");
  assert.equal(widthWords(0.042, null), "±4.2 %");
  assert.equal(widthWords(null, 0.03), "±3.0 %");
  assert.equal(widthWords(null, null), "");
});

test("what cannot be seen is shown as a sign, what can is left", () => {
  assert.equal(visible("a\nb\r\nc\td"), "a↵b↵c⇥d");
  assert.equal(visible("\u202eevil\u0000\u200b\u001b[31m"), "\ufffdevil\ufffd\ufffd\ufffd[31m");
  assert.equal(visible(" <b> café 👩‍💻 日本 "), " <b> café 👩‍💻 日本 ");
  assert.equal(visible(undefined), "");
});

test("nothing listed changes nothing", () => {
  assert.deepEqual(merge(newCall(), {}), newCall());
  assert.deepEqual(merge(newCall(), { first: 0, at_us: 0, e: [] }), newCall());
});

test("one emission is the first token", () => {
  const call = merge(newCall(), listed(0, 1, { text: ["fast"] }));
  assert.deepEqual(call.items, [{ index: 0, last: 0, at: 170_000, gap: 170_000, text: "fast" }]);
  assert.deepEqual([call.first, call.next, call.end, call.longest, call.text], [170_000, 1, 170_000, null, "fast"]);
});

test("a repeated message changes nothing", () => {
  const call = merge(newCall(), listed(0, 5, { text: ["a", "b"] }));
  const before = structuredClone(call);
  assert.deepEqual(merge(call, listed(0, 5, { text: ["a", "b"] })), before);
  assert.deepEqual(merge(call, listed(2, 3, { text: ["a", "b"] })), before);
});

test("a lost message comes with the next one", () => {
  const all = (...messages) => messages.reduce((call, message) => merge(call, message), newCall());
  const lossless = all(listed(0, 3), listed(1, 5), listed(3, 7));
  const lossy = all(listed(0, 3), listed(3, 7));
  assert.deepEqual(lossy, lossless);
  assert.deepEqual(indices(lossy), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  // 170 ms to the first, then nine gaps of 20 ms
  assert.equal(lossy.items.at(-1).at, 350_000);
});

test("what is lost for good leaves a hole, and instants stay right", () => {
  const call = merge(merge(newCall(), listed(0, 2, { text: ["a", "b"] })), listed(10, 2, { text: ["k", "l"] }));
  assert.deepEqual(indices(call), [0, 1, 10, 11]);
  assert.equal(call.items.at(-1).at, 170_000 + 11 * 20_000);
  assert.equal(call.text, "ab⋯kl");
});

test("texts belong to the last emissions listed", () => {
  const call = merge(newCall(), listed(0, 4, { text: [" c", " d"] }));
  assert.deepEqual(call.items.map(({ text }) => text), [undefined, undefined, " c", " d"]);
  assert.equal(call.text, "⋯ c d");
  assert.equal(merge(newCall(), { ...listed(0, 2), text: null }).text, "");
});

test("a merged item keeps its count and its longest gap", () => {
  const call = merge(newCall(), { first: 0, at_us: 100, e: [100, [900, 8, 300], 50] });
  assert.deepEqual(call.items.slice(1), [
    { index: 1, last: 8, at: 1000, gap: 300, text: undefined },
    { index: 9, last: 9, at: 1050, gap: 50, text: undefined },
  ]);
  assert.equal(call.next, 10);
});

test("a merged item that is half known adds its unknown half only", () => {
  const call = merge(newCall(), { first: 0, at_us: 100, e: [100, 10, 800] });
  // Emissions 1 to 4 in one item: 1 and 2 are known, among them the gap of 800; they ended at 910, these end at 960.
  merge(call, { first: 1, at_us: 960, e: [[860, 4, 800]] });
  assert.deepEqual(call.items.at(-1), { index: 3, last: 4, at: 960, gap: 50, text: undefined });
  assert.equal(call.longest.index, 2);
});

test("thinning keeps the first emission, every count and every longest gap", () => {
  const items = [900, 1, 7, 3, 2].map((gap, index) => ({ index, last: index, at: index * 10, gap, text: "x" }));
  assert.deepEqual(thin(items), [
    { index: 0, last: 0, at: 0, gap: 900, text: "x" },
    { index: 1, last: 2, at: 20, gap: 7, text: null },
    { index: 3, last: 4, at: 30, gap: 3, text: null },
  ]);
  assert.deepEqual(thin([]), []);
  assert.deepEqual(thin(items.slice(0, 1)), items.slice(0, 1));
  assert.deepEqual(thin(items.slice(0, 2)), items.slice(0, 2));
});

test("100,000 emissions stay bounded, complete and even", () => {
  const call = newCall();
  for (let first = 0; first < 100_000; first += 50) {
    const message = listed(first, 100, { text: ["token "] });
    const stall = 61_320 - first; // emission 61,320 comes five seconds late, and so do all after it
    if (stall <= 0) message.at_us += 5_000_000;
    if (stall >= 0 && stall < 100) message.e[stall] += 5_000_000;
    merge(call, message);
    assert.ok(call.items.length <= 2000);
  }
  assert.equal(call.next, 100_050);
  const counts = call.items.map(({ index, last }) => last - index + 1);
  assert.equal(counts.reduce((a, b) => a + b, 0), 100_050);
  call.items.slice(1).forEach(({ index }, i) => assert.equal(index, call.items[i].last + 1));
  // 64 is the least power of two by which 100,050 emissions fit into 2,000 items
  assert.ok(Math.max(...counts) <= 64);
  assert.equal(call.end, 170_000 + 100_049 * 20_000 + 5_000_000);
  assert.deepEqual([call.longest.index, call.longest.gap], [61_320, 5_020_000]);
  const stalls = call.items.filter(({ index, gap }) => index > 0 && gap > 20_000);
  assert.equal(stalls.length, 1);
  assert.ok(stalls[0].index <= 61_320 && stalls[0].last >= 61_320);
  // 170 ms and then 61,320 gaps of 20 ms, and the five seconds
  assert.equal(stalls[0].at, 170_000 + 61_320 * 20_000 + 5_000_000);
  assert.ok(call.text.length <= 600);
  // each of the 2,000 messages brought one text and, before it, the sign for those that it left out
  assert.equal(call.cut + call.text.length, 2000 * "⋯token ".length);
});

test("lines begin at fixed characters", () => {
  assert.deepEqual(lastLines("", 0, 10), { shown: "", whole: true });
  assert.deepEqual(lastLines("a".repeat(20), 0, 10), { shown: "a".repeat(20), whole: true });
  assert.deepEqual(lastLines("0123456789abcdefghijK", 0, 10), { shown: "abcdefghijK", whole: false });
  assert.deepEqual(lastLines("0123456789abcdefghijKL", 0, 10), { shown: "abcdefghijKL", whole: false });
  // of 26 characters the first five are gone; the last two lines begin at the tenth
  assert.deepEqual(lastLines("56789abcdefghijKLMNOP", 5, 10), { shown: "abcdefghijKLMNOP", whole: false });
});

test("half a character is not shown", () => {
  assert.equal(lastLines("123456789😀abcdefghijk", 0, 10).shown, "abcdefghijk");
});

test("the nearest item is found at the ends, between and on ties", () => {
  const items = [10, 20, 40].map((at) => ({ at }));
  for (const [at, expected] of [[-5, 0], [10, 0], [15, 0], [16, 1], [30, 1], [31, 2], [99, 2]]) {
    assert.equal(nearest(items, at), expected, `at ${at}`);
  }
  assert.equal(nearest([], 5), -1);
  assert.equal(nearest([{ at: 7 }], 5), 0);
});

test("round numbers come from above and change seldom", () => {
  for (const [value, expected] of [[0, 1], [-1, 1], [1, 1], [1.2, 1.5], [1.6, 2], [7, 8], [11, 15], [5e5, 5e5]]) {
    assert.equal(niceAbove(value), expected, `above ${value}`);
  }
});

test("an axis has steps of 1, 2 or 5", () => {
  assert.deepEqual(axisSteps(1_000_000, 5), [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]);
  assert.deepEqual(axisSteps(3_000_000, 6), [0, 500_000, 1_000_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000]);
  assert.deepEqual(axisSteps(0), [0]);
  for (let total = 1; total < 1e12; total *= 1.37) {
    const steps = axisSteps(total, 6);
    assert.ok(steps.length <= 7 && steps.at(-1) <= total * 1.000001);
    assert.match(String(Number((steps[1] ?? 1).toPrecision(6))), /^[125]0*$/);
  }
});

test("an ordinary gap is no stall, whatever the longest is", () => {
  const gaps = (...all) => [170_000, ...all].map((gap, index) => ({ index, gap }));
  // four medians of 20 ms
  assert.equal(gapTop(gaps(20_000, 20_000, 20_000, 5_000_000)), 80_000);
  assert.equal(gapTop(gaps(20_000)), 80_000);
  assert.equal(gapTop(gaps()), 1);
  assert.equal(gapTop([]), 1);
  assert.equal(gapTop(gaps(0, 0)), 1);
});

test("a token is read out with its gap, instant and text", () => {
  const item = { index: 11, last: 11, at: 1_240_000, gap: 38_200, text: " fast" };
  assert.equal(readout(item), "token 12 · gap 38.2 ms · at 1.24 s · “ fast”");
  assert.equal(readout({ ...item, text: null }), "token 12 · gap 38.2 ms · at 1.24 s");
  assert.equal(readout({ ...item, text: "<img src=x>" }), "token 12 · gap 38.2 ms · at 1.24 s · “<img src=x>”");
});

test("the first token has no gap before it", () => {
  assert.equal(readout({ index: 0, last: 0, at: 170_000, gap: 170_000 }), "token 1 · first, after 170 ms");
});

test("merged tokens are read out with their longest gap", () => {
  const item = { index: 119, last: 126, at: 1_240_000, gap: 9_000, text: null };
  assert.equal(readout(item), "tokens 120–127 · longest gap 9.00 ms · at 1.24 s");
});

test("notes near a token are named, at most three of them", () => {
  const item = { index: 2, last: 2, at: 1000, gap: 100 };
  const notes = [["early", 899, ""], ["gc", 900, "12 ms"], ["b", 1000, ""], ["c", 1010, null], ["late", 1011, ""]];
  const near = notesNear(notes, item, 10);
  assert.deepEqual(near.map(([kind]) => kind), ["gc", "b", "c"]);
  assert.equal(readout(item, near), "token 3 · gap 100 µs · at 1.00 ms · gc: 12 ms · b · c");
  assert.ok(!readout(item, [...near, ["d", 1000, ""]]).includes("· d"));
});

test("a budget is told in words and by a mark", () => {
  const text = "ttft p95 < 250 ms";
  assert.equal(budgetWords({ text, mark: "ok", seen: "210 ms" }), `✓ ${text} · 210 ms`);
  assert.equal(budgetWords({ text, mark: "ok", seen: null }), `✓ ${text}`);
  assert.equal(budgetWords({ text, mark: "over", seen: "312 ms" }), `✗ ${text} · 312 ms, over`);
  assert.equal(budgetWords({ text, mark: "open", seen: "210 ms" }), `… ${text} · 210 ms, open`);
  assert.equal(budgetWords({ text }), `… ${text} · open`);
});

test("keys lead from token to token and stop at the ends", () => {
  const items = [{ index: 0, last: 0 }, { index: 1, last: 4 }, { index: 5, last: 5 }];
  for (const [chosen, key, expected] of [
    [null, "ArrowRight", 0], [null, "ArrowLeft", 5], [null, "Home", 0], [null, "End", 5], [0, "ArrowRight", 4],
    [4, "ArrowLeft", 0], [0, "ArrowLeft", 0], [5, "ArrowRight", 5], [2, "ArrowRight", 5], [5, "Home", 0],
    [0, "End", 5], [0, "PageUp", 5], [5, "PageDown", 0], [4, "Escape", null],
  ]) {
    assert.equal(move(items, chosen, key), expected, `${key} from ${chosen}`);
  }
  assert.equal(move([], null, "End"), null);
});

test("a foreign, unknown or late message is ignored", () => {
  const run = newRun(setup);
  const before = structuredClone(run);
  for (const message of [undefined, {}, { ...ticked(), run: "other" }, { run: "a1b2c3", kind: "what" }]) {
    assert.equal(receive(run, message, 0), false);
  }
  assert.deepEqual(run, before);
  assert.equal(receive(run, { run: "a1b2c3", kind: "end" }, 0), true);
  assert.equal(receive(run, ticked(), 0), false);
  assert.equal(run.ticks, 0);
});

test("a run without budgets or setup has none", () => {
  assert.deepEqual(newRun({}).budgets, []);
  assert.deepEqual(newRun(setup).budgets, [{ text: "ttft p95 < 250 ms" }]);
});

test("each call begins a new timeline, quiet or not", () => {
  const run = newRun(setup);
  receive(run, began(), 0);
  receive(run, ticked({ ...listed(0, 3), notes: [["gc", 5, ""]] }), 10);
  assert.deepEqual([run.phase, run.call.items.length, run.call.notes.length], ["decode", 3, 1]);
  receive(run, began({ quiet: true, width: 0.04, aim: 0.03 }), 20);
  assert.deepEqual([run.phase, run.call.items.length, run.call.notes.length], ["measuring", 0, 0]);
  receive(run, began({ width: 0.035 }), 30);
  assert.deepEqual([run.phase, run.widths], ["starting", [0.04, 0.035]]);
});

test("budgets stay until new ones come", () => {
  const run = newRun(setup);
  const over = [{ text: "ttft p95 < 250 ms", mark: "over", seen: "312 ms" }];
  receive(run, ticked({ budgets: over }), 0);
  receive(run, ticked(), 0);
  receive(run, began(), 0);
  assert.equal(run.budgets, over);
});

test("notes are kept in the order of their instants, 200 of them", () => {
  const run = newRun(setup);
  receive(run, ticked({ notes: [["gc", 900, ""], ["recompile", 100, ""]] }), 0);
  assert.deepEqual(run.call.notes.map(([kind]) => kind), ["recompile", "gc"]);
  for (let i = 0; i < 300; i++) receive(run, ticked({ notes: [["gc", 1000 + i, ""]] }), 0);
  assert.equal(run.call.notes.length, 200);
});

test("the browser's clock goes on between ticks, is corrected by them and stops at the end", () => {
  const run = newRun(setup);
  assert.equal(elapsed(run, 5000), 0);
  receive(run, began(), 1000);
  assert.equal(elapsed(run, 1500), 500_000);
  receive(run, ticked({ t_us: 480_000 }), 1500);
  assert.equal(elapsed(run, 1600), 580_000);
  receive(run, { run: "a1b2c3", kind: "end" }, 1700);
  assert.equal(elapsed(run, 9000), 680_000);
});

// A run whose Stop is pressed, with what it has asked for.
function stoppable(kernel, send = () => {}) {
  const asked = [];
  const run = Object.assign(newRun(setup), { changed: () => {} });
  const model = {
    widget_manager: kernel && { kernel: { interrupt: () => (asked.push("interrupt"), kernel()) } },
    send: (message) => (asked.push(message), send()),
  };
  return { run, model, asked };
}

test("Stop interrupts the kernel and does nothing else", async () => {
  const { run, model, asked } = stoppable(() => Promise.resolve());
  await Promise.all([stop(run, model), stop(run, model)]);
  assert.deepEqual(asked, ["interrupt"]);
  assert.deepEqual([run.stopping, run.label, run.refused], [true, "Stopping…", ""]);
  clearTimeout(run.patience);
});

test("Stop sends a message where no kernel can be interrupted", async () => {
  for (const manager of [undefined, null, {}, { kernel: null }, { kernel: {} }]) {
    const { run, model, asked } = stoppable();
    await stop(run, { ...model, widget_manager: manager });
    assert.deepEqual(asked, [{ stop: "a1b2c3" }]);
    clearTimeout(run.patience);
  }
});

test("a Stop that fails says what to do, and tries no second way", async () => {
  const fails = () => {
    throw new Error("no");
  };
  for (const [kernel, send] of [[fails], [() => Promise.reject(new Error("no"))], [undefined, fails]]) {
    const { run, model, asked } = stoppable(kernel, send);
    await stop(run, model);
    assert.equal(asked.length, 1);
    assert.equal(run.refused, "use ■ in the toolbar");
    clearTimeout(run.patience);
  }
});

test("Stop is offered again after three seconds, and never after the end", async () => {
  const { run, model, asked } = stoppable(() => {});
  const waiting = [];
  const real = globalThis.setTimeout;
  globalThis.setTimeout = (callback, ms) => waiting.push([callback, ms]);
  try {
    await stop(run, model);
    assert.equal(run.label, "Stopping…");
    const [[patience, ms]] = waiting;
    assert.equal(ms, 3000);
    patience();
    assert.deepEqual([run.stopping, run.label], [false, "Stop again"]);
    await stop(run, model);
    assert.equal(asked.length, 2);
    waiting[1][0]();
    receive(run, { run: "a1b2c3", kind: "end" }, 0);
    await stop(run, model);
    assert.equal(asked.length, 2);
  } finally {
    globalThis.setTimeout = real;
  }
});

test("the module is what anywidget expects", () => {
  assert.deepEqual(Object.keys(widget), ["initialize", "render"]);
});

test("messages that come before any view are kept, and nothing listens afterwards", () => {
  const handlers = new Set();
  const model = {
    get: (name) => (name === "setup" ? setup : undefined),
    on: (name, handler) => handlers.add(handler),
    off: (name, handler) => handlers.delete(handler),
  };
  const clean = widget.initialize({ model });
  assert.equal(handlers.size, 1);
  handlers.forEach((handler) => handler(began()));
  clean();
  assert.equal(handlers.size, 0);
});
