
// state.js: what the page shows, and its way into the address and back.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LONGEST = 2000; // steps of training
const RATE = 0.5;
const GAPS = [-2, 12]; // of the curve in panel 6
const TEN = 10; // classes that one may ask for, where the data has no more

const presetOf = (key) => DATA.presets.find((p) => p.key === key) ?? DATA.presets[0];
const mostClasses = (preset) => Math.max(TEN, preset.classes.length);

function fresh(key, predict = false) {
  const preset = presetOf(key);
  return {
    preset: preset.key, eps: DATA.eps, family: DATA.family, temperature: 1, row: 0, classes: preset.classes.length,
    logits: preset.logits.map((row) => [...row]), labels: [...preset.labels], time: LONGEST, tab: "row", noise: 0, predict,
    wrong: { target: 0, logarithm: "once", ten: 0, sum: 0 },
  };
}

const within = (x, low, high) => x !== "" && Number.isFinite(Number(x)) && Number(x) >= low && Number(x) <= high;
const whole = (x, low, high) => within(x, low, high) && Number.isInteger(Number(x));

// Reads an address; whatever is not understood keeps its default.
function readAddress(hash) {
  const asked = new URLSearchParams(hash.replace(/^#/, ""));
  const state = fresh(asked.get("d"), asked.get("m") === "predict");
  const preset = presetOf(state.preset), rows = preset.rows.length;
  const take = (key, test, put) => { const x = asked.get(key); if (x !== null && test(x)) put(x); };
  take("e", (x) => within(x, 0, 1), (x) => { state.eps = Number(x); });
  take("f", (x) => whole(x, 0, DATA.families.length - 1), (x) => { state.family = Number(x); });
  take("t", (x) => within(x, 0.1, 10), (x) => { state.temperature = Number(x); });
  take("r", (x) => whole(x, 0, rows - 1), (x) => { state.row = Number(x); });
  take("k", (x) => whole(x, 2, mostClasses(preset)), (x) => { state.classes = Number(x); });
  take("p", (x) => x === "points", (x) => { state.tab = x; });
  take("n", (x) => whole(x, 0, DATA.points.wrong.length), (x) => { state.noise = Number(x); });
  take("s", (x) => whole(x, 0, LONGEST), (x) => { state.time = Number(x); });
  const most = mostClasses(preset);
  const parse = (x) => x.split("!").map((row) => row.split("_"));
  const matrix = (x) => parse(x).length === rows && parse(x).every((row) => row.length >= 2 && row.length <= most && row.every((z) => within(z, -1e6, 1e6)));
  take("z", matrix, (x) => { state.logits = parse(x).map((row) => row.map(Number)); });
  take("y", (x) => x.split("_").length === rows && x.split("_").every((y) => whole(y, 0, most - 1)), (x) => { state.labels = x.split("_").map(Number); });
  const kinds = Object.keys(core.logarithm);
  take("w", (x) => {
    const [target, logarithm, ten, sum, ...more] = x.split("_");
    return !more.length && whole(target, 0, DATA.wrong.length - 1) && kinds.includes(logarithm) && whole(ten, 0, 1) && whole(sum, 0, 1);
  }, (x) => {
    const [target, logarithm, ten, sum] = x.split("_");
    state.wrong = { target: Number(target), logarithm, ten: Number(ten), sum: Number(sum) };
  });
  return settled(state);
}

// Writes what differs from the defaults.
function writeAddress(state) {
  const plain = fresh(state.preset), out = new URLSearchParams();
  const put = (key, value, usual) => { if (String(value) !== String(usual)) out.set(key, value); };
  put("d", state.preset, DATA.presets[0].key);
  put("e", state.eps, plain.eps);
  put("f", state.family, plain.family);
  put("t", state.temperature, 1);
  put("r", state.row, 0);
  put("k", state.classes, plain.classes);
  put("s", state.time, LONGEST);
  put("p", state.tab, "row");
  put("n", state.noise, 0);
  const rows = (logits) => logits.map((row) => row.join("_")).join("!");
  put("z", rows(state.logits), rows(plain.logits));
  put("y", state.labels.join("_"), plain.labels.join("_"));
  put("w", Object.values(state.wrong).join("_"), Object.values(plain.wrong).join("_"));
  put("m", state.predict ? "predict" : "", "");
  return out.toString();
}

// Keeps at least one row whose label is among the classes, and the chosen row one of them.
function settled(state) {
  const there = state.labels.map((y, n) => (y < state.classes ? n : -1)).filter((n) => n >= 0);
  if (!there.length) { state.classes = Math.max(2, Math.min(...state.labels) + 1); return settled(state); }
  if (!there.includes(state.row)) state.row = there[0];
  return state;
}

const classNames = (state) => Array.from({ length: state.classes }, (_, k) => presetOf(state.preset).classes[k] ?? `class ${k + 1}`);

// What one evaluation of the chain gives, for the rows whose label is among the classes.
function evaluated(state) {
  const preset = presetOf(state.preset), K = state.classes;
  const shown = state.labels.map((_, n) => n).filter((n) => state.labels[n] < K);
  const logits = shown.map((n) => Array.from({ length: K }, (_, k) => state.logits[n][k] ?? 0));
  const label = shown.map((n) => state.labels[n]);
  const given = { logits, label, epsilon: state.eps, n_classes: K, n_rows: shown.length, class_index: Array.from({ length: K }, (_, k) => k) };
  const n = shown.indexOf(state.row);
  const v = core.loss[state.family](given);
  const hot = core.heated({ ...given, target: v.target, temperature: state.temperature });
  const best = core.optimum[state.family](given);
  return { state, preset, names: classNames(state), rows: shown.map((m) => preset.rows[m]), shown, given, v, hot, best, n, y: label[n], K };
}
