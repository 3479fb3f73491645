
// points.js: the second tab of panel 7, a linear classifier on a map. Its mathematics is printed; here it is repeated and drawn.

const BINS = 15;
const [TRAIN, FRESH] = [DATA.points.train, DATA.points.fresh].map(({ first, second, label }) => ({ first: first.map((x) => x / 100), second: second.map((x) => x / 100), label }));
const REACH = 3.1, CELLS = 32; // of the map, from its middle to its edge, and along each side
const SURE = [0.5, 0.7, 0.9, 0.99]; // where its shades begin
const PATIENCE = 4; // milliseconds of training while a slider moves
const SHAPES = ["label", "model", "noise"]; // their colours; the forms are in `mark`
const walks = new Map(); // of the training runs, the last ones asked for: the weights after each step

const batch = (first, second) => ({ first, second, n_rows: first.length, n_classes: 3, class_index: [0, 1, 2] });
const grid = (() => {
  const at = Array.from({ length: CELLS + 1 }, (_, i) => (2 * i / CELLS - 1) * REACH);
  return batch(at.flatMap(() => at), at.flatMap((y) => at.map(() => y)));
})();
const judges = batch(FRESH.first, FRESH.second);

const labelsAt = (wrong) => { const label = [...TRAIN.label]; for (const [n, k] of DATA.points.wrong.slice(0, wrong)) label[n] = k; return label; };

// The weights after so many steps; null where the walk there takes longer than the milliseconds it may take.
function walked(family, eps, wrong, until, ms) {
  const key = `${family} ${eps} ${wrong}`, given = { ...batch(TRAIN.first, TRAIN.second), rate: RATE };
  const walk = kept(walks, key, 8, () => {
    const start = { first_weight: [0, 0, 0], second_weight: [0, 0, 0], bias: [0, 0, 0] };
    const { target } = core.loss[family]({ ...given, logits: core.scored({ ...given, ...start }).logits, label: labelsAt(wrong), epsilon: eps });
    return { target, weights: [start] };
  });
  for (const end = performance.now() + ms; walk.weights.length <= until;) {
    if (performance.now() > end) return null;
    const now = answered(walk.weights.at(-1), given), then = core.learned({ ...now, gradient: core.sloped({ ...now, target: walk.target }).gradient });
    walk.weights.push({ first_weight: then.next_first, second_weight: then.next_second, bias: then.next_bias });
  }
  return walk.weights[until];
}

// What is under a key; made if it is not there, and then what was not asked for longest is dropped.
function kept(map, key, most, create) {
  const value = map.get(key) ?? create();
  map.delete(key);
  map.set(key, value);
  if (map.size > most) map.delete(map.keys().next().value);
  return value;
}

const answered = (weights, at) => core.predicted(core.scored({ ...at, ...weights }));

// What the fresh points say of a model: its bins, its calibration error, and what chance alone would make of that.
function measured(weights) {
  const made = core.judged({ ...answered(weights, judges), label: FRESH.label });
  const bins = core.binned({ ...made, n_classes: BINS, class_index: Array.from({ length: BINS }, (_, k) => k) });
  const apart = bins.bin_promised.map((promised_sum, k) => {
    let chance = [1];
    bins.member.forEach((inside, n) => {
      if (inside[k]) chance = core.folded({ chance: [...chance, 0], moved_chance: [0, ...chance], row_confidence: made.confidence[n], n_classes: chance.length + 1 }).next_chance;
    });
    return core.distance({ chance, promised_sum, n_classes: chance.length, class_index: chance.map((_, hits) => hits) });
  });
  const floor = core.floor({ bin_distance: apart.map((x) => x.expected_distance), bin_variance: apart.map((x) => x.hit_variance), n_rows: judges.n_rows, n_classes: BINS });
  return { ...bins, confidence: made.confidence, correct: made.correct, ece_floor: floor.ece_floor, floor_spread: floor.floor_spread };
}

// Both models after the steps asked for, or null where a slider would have to wait for them.
const models = new Map(); // what was measured last, so that a slider elsewhere measures nothing twice
function both({ state }, ms) {
  const pair = [0, state.eps].map((eps) => walked(state.family, eps, state.noise, state.time, ms));
  if (pair.includes(null)) return null;
  return pair.map((weights) => kept(models, weights, 4, () => ({ weights, ...measured(weights) })));
}

const percent = (x) => `${(100 * x).toFixed(0)}\u00a0%`;
const byChance = (m) => `${number(m.ece_floor)} ±\u00a0${number(m.floor_spread)}`;
// Of an error that chance would hardly give: which way it goes.
const verdict = (m) => (m.ece < m.ece_floor + 2 * m.floor_spread ? "as sure as they should be" : m.mean_confidence > m.accuracy ? "too sure" : "not sure enough");

// Whose calibration error is smaller: -1 for hard labels, 1 for smoothed ones, 0 where chance may have made the difference.
function nearer(view) {
  const [hard, smooth] = both(view, Infinity), by = hard.ece - smooth.ece;
  return Math.abs(by) > 2 * Math.max(hard.floor_spread, smooth.floor_spread) ? Math.sign(by) : 0;
}

function writePoints() {
  byId("noise").max = DATA.points.wrong.length;
  byId("idea-points").textContent = `A linear classifier learns from ${TRAIN.label.length} points of three classes, gradient descent at rate ${RATE}, and is judged by ${FRESH.label.length} fresh ones. Some of the labels that it learns from can be made wrong.`;
  byId("legend-points").textContent = `● ■ ▲ points it learns from, by the label they are given; hollow where that is wrong. Dots: the fresh points. Shades begin where a class has ${SURE.join(", ")}. Below: the fresh points by confidence, hatched where the prediction is wrong.`;
  byId("note-points").textContent = `The calibration error is the expected one in ${BINS} bins of confidence. By chance: what a perfectly calibrated model with these confidences would read on ${FRESH.label.length} points, give or take its standard deviation. Wrong labels smooth as well: a share s of them, spread evenly, is on average ε = s dealt out to the K−1 wrong classes; the more of them, the less is left for ε to do.`;
}

function drawPoints(view, sliding) {
  const { state } = view, pair = both(view, sliding ? PATIENCE : Infinity), picture = byId("fig-points");
  byId("noise").value = state.noise;
  byId("noise").setAttribute("aria-valuetext", `${state.noise} of ${TRAIN.label.length} labels wrong`);
  byId("noise-out").textContent = `${state.noise} of ${TRAIN.label.length}`;
  picture.classList.toggle("waiting", !pair);
  picture.setAttribute("aria-busy", !pair);
  if (!pair) return false;
  const [hard, smooth] = pair, eps = trim(state.eps, 4);
  say("says-points", `After ${state.time.toLocaleString("en")} steps with ${state.noise || "none"} of ${TRAIN.label.length} labels wrong, hard labels promise `, strong(percent(hard.mean_confidence)), " on fresh points and are right in ", strong(percent(hard.accuracy)), `: ${verdict(hard)}. `,
    ...(state.eps === 0 ? ["At ε = 0 both are the same run."] : [`Smoothed with ε\u00a0=\u00a0${eps} they promise `, strong(percent(smooth.mean_confidence)), " and keep ", strong(percent(smooth.accuracy)), `: ${verdict(smooth)}.`]));
  figure("points", 0, "says-points", (svg, W) => {
    const gap = 18, half = (W - gap) / 2, low = half + 24;
    pair.forEach((model, side) => {
      const left = side * (half + gap);
      svg.append(text(left, 13, side ? `ε = ${eps}` : half > 150 ? "hard labels, ε = 0" : "ε = 0", "strong", "start"));
      drawMap(svg, model, labelsAt(state.noise), left, 22, half);
      drawBins(svg, model, left, low + 14, half);
    });
    svg.setAttribute("viewBox", `0 0 ${W} ${low + 134}`);
  });
  const error = (m) => [strong(m.ece.toFixed(3)), make("span", { class: "block" }, `by chance ${byChance(m)}`)];
  const lines = [["right", (m) => percent(m.accuracy)], ["mean confidence", (m) => percent(m.mean_confidence)], ["calibration error", error]];
  const table = byId("measures");
  table.replaceChildren(table.caption, make("thead", {}, make("tr", {}, ...["", "ε = 0", `ε = ${eps}`].map((head, i) => make(i ? "th" : "td", i ? { scope: "col" } : {}, head)))),
    make("tbody", {}, ...lines.map(([name, cell]) => make("tr", {}, make("th", { scope: "row" }, name), ...pair.map((m) => make("td", {}, ...[cell(m)].flat()))))));
  return true;
}

function mark(k, x, y, r, kind) {
  if (k === 0) return make("circle", { cx: x, cy: y, r, class: kind });
  const s = r * 0.9;
  return make("path", { d: k === 1 ? `M${x - s},${y - s}h${2 * s}v${2 * s}h${-2 * s}z` : `M${x},${y - r * 1.25}l${r * 1.2},${r * 2.1}h${-r * 2.4}z`, class: kind });
}

// Where a class has at least some probability: a convex piece of the map, so its corners in the order of their angle draw it.
function region(field, k, level, place) {
  const side = CELLS + 1, corners = [], value = (i) => field[i][k] - level;
  for (const [i, step] of field.flatMap((_, n) => [[n, side], [n, (n + 1) % side ? 1 : 0]])) {
    const from = value(i), to = i + step < field.length ? value(i + step) : from;
    if (step && (from < 0) !== (to < 0)) { const share = from / (from - to); corners.push(place(grid.first[i] + share * (grid.first[i + step] - grid.first[i]), grid.second[i] + share * (grid.second[i + step] - grid.second[i]))); }
  }
  for (const i of [0, CELLS, field.length - side, field.length - 1]) if (value(i) >= 0) corners.push(place(grid.first[i], grid.second[i]));
  const middle = [0, 1].map((d) => corners.reduce((sum, at) => sum + at[d], 0) / corners.length);
  return corners.sort((one, two) => Math.atan2(one[1] - middle[1], one[0] - middle[0]) - Math.atan2(two[1] - middle[1], two[0] - middle[0]));
}

function drawMap(svg, { weights }, labels, left, top, size) {
  const field = answered(weights, grid).softmax, place = (x, y) => [left + (x / REACH + 1) * size / 2, top + (1 - y / REACH) * size / 2];
  for (const level of SURE) for (const k of [0, 1, 2]) svg.append(make("polygon", { class: `band ${SHAPES[k]}`, points: region(field, k, level, place).map((at) => at.map((x) => x.toFixed(1)).join()).join(" ") }));
  svg.append(rect(left, top, size, size, "map"));
  const seen = FRESH.label.map((k, n) => [k, FRESH.first[n], FRESH.second[n]]).filter(([, x, y]) => Math.max(Math.abs(x), Math.abs(y)) < REACH);
  for (const k of [0, 1, 2]) svg.append(make("path", { class: `${SHAPES[k]} dots`, d: seen.filter(([own]) => own === k).map(([, x, y]) => `M${place(x, y).map((at) => at.toFixed(1)).join()}h0`).join("") }));
  labels.forEach((k, n) => svg.append(mark(k, ...place(TRAIN.first[n], TRAIN.second[n]), size > 150 ? 5 : 4, `${k === TRAIN.label[n] ? "" : "false "}point ${SHAPES[k]}`)));
}

// How many fresh points have which confidence, right and wrong, and how far promise and keeping lie apart.
function drawBins(svg, model, left, top, size) {
  const least = 4, from = least / BINS, x = (share) => left + ((share - from) / (1 - from)) * size, base = top + 74, most = 1.15 * Math.max(...model.bin_count), tall = (rows) => (rows / most) * 66;
  for (let k = least; k < BINS; k++) {
    const [at, wide] = [x(k / BINS) + 1, size / (BINS - least) - 2], right = tall(model.bin_hits[k]), all = tall(model.bin_count[k]);
    svg.append(rect(at, base - right, wide, right, "kept"), rect(at, base - all, wide, all - right, "missed"), rect(at, base - all, wide, all - right, "hatch"));
  }
  svg.append(line(left, base, left + size, base, "axis"), line(x(model.accuracy), base, x(model.accuracy), top, "ghost"), make("path", { class: "tip", d: `M${x(model.mean_confidence)},${base + 1}l5,9h-10z` }));
  const side = (share) => (share > 0.6 ? "end" : "start"), away = (share) => (share > 0.6 ? -5 : 5);
  svg.append(text(x(model.accuracy) + away(model.accuracy), top + 4, `${percent(model.accuracy)} right`, "small", side(model.accuracy)));
  svg.append(text(x(model.mean_confidence) - 1.5 * away(model.mean_confidence), base + 40, `${percent(model.mean_confidence)} promised`, "small", side(model.mean_confidence)));
  svg.append(text(x(1 / 3), base + 24, "⅓", "soft"), text(left + size, base + 24, "1", "soft", "end"));
}
